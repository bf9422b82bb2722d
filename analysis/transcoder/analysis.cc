// transcoder — trains replacements of MLPs; definition in README.md.
#include <algorithm>

#include "analysis/dictionary_training/train_run.h"
#include "analysis/engine/layers.h"
#include "analysis/registry.h"
#include "analysis/transcoder/layer_list.h"

namespace microtome::analyses {
namespace {

const AnalysisInfo kInfo = {
    "transcoder", 1, "Transcoder",
    "Sparse features that read what an MLP reads and give what it gives: one a layer, with a linear skip connection, or across layers, "
    "where a feature writes into all later MLPs' outputs too. Measured on held-out text.",
    "arXiv 2406.11944, 2501.18823; cross-layer: Ameisen et al. 2025, Circuit tracing", AnalysisInfo::Prompts::kNone,
    {{"W_enc", {"d_in", "feature"}, "encoder weights"}, {"W_dec", {"feature", "d_out"}, "decoder weights: the direction of every feature"}}};

std::unique_ptr<AnalysisRun> start(const AnalysisInput& input) {
  const Params& p = input.params;
  std::vector<std::pair<std::string, std::string>> pairs;
  for (int64_t layer : read_layers(p.get_string("layers"), engine::layer_count(input.model))) {
    const std::string in = engine::block_point(layer, p.get_string("read")), out = engine::block_point(layer, p.get_string("write"));
    if (p.get_string("layers") == "all" && !engine::has_point(input.model, layer, p.get_string("read"))) continue;   // a block without an MLP
    pairs.emplace_back(in, out);
  }
  if (pairs.empty())
    throw Error(StatusCode::kUnsupported, "no block of this model has the point " + p.get_string("read"), "param read", "see `microtome inspect MODEL --hooks`");
  const bool cross = p.get_string("variant") == "cross_layer" && pairs.size() > 1;
  return std::make_unique<training::TrainRun>(input, training::make_plan(input, pairs, cross, p.get_string("variant") == "skip"));
}

}  // namespace

void register_transcoder(Registry& registry) { registry.add({kInfo, start}); }

}  // namespace microtome::analyses
