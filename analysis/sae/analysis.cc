// sae — trains sparse autoencoders; definition in README.md.
#include "analysis/dictionary_training/train_run.h"
#include "analysis/engine/layers.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

const AnalysisInfo kInfo = {
    "sae", 1, "Sparse autoencoder",
    "Sparse autoencoders of a point's activations: codes that are nearly all zero and give the activation back. Trained on text, one or "
    "several points and values of a sweep in one pass; measured on held-out text.",
    "arXiv 2309.08600, 2404.16014, 2406.04093, 2407.14435, 2412.06410, 2503.17547", AnalysisInfo::Prompts::kNone,
    {{"W_enc", {"d_in", "feature"}, "encoder weights"}, {"W_dec", {"feature", "d_out"}, "decoder weights: the direction of every feature"}}};

std::unique_ptr<AnalysisRun> start(const AnalysisInput& input) {
  std::string hook = input.params.get_string("hook");
  if (hook == "auto") hook = engine::block_point(engine::layer_count(input.model) / 2, "hook_resid_post");
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& name : input.model.catalogue().match(hook)) pairs.emplace_back(name, name);
  return std::make_unique<training::TrainRun>(input, training::make_plan(input, pairs, false, false));
}

}  // namespace

void register_sae(Registry& registry) { registry.add({kInfo, start}); }

}  // namespace microtome::analyses
