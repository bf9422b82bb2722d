// transcoder_circuit — definition in README.md. An item is a prompt.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/engine/dictionaries.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/node_names.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "analysis/transcoder_circuit/summary.h"
#include "core/model/weights.h"

namespace microtome::analyses {
namespace {

using namespace feature_circuit;
using engine::short_number;

const AnalysisInfo kInfo = {
    "transcoder_circuit", 1, "Transcoder circuit",
    "What transcoder features and heads add to the logit difference: input-invariant connections between features (decoder times "
    "encoder, directly and through a head's values) times the activations of each prompt, followed greedily from the metric back to tokens.",
    "arXiv 2406.11944", AnalysisInfo::Prompts::kClean,
    {{"effect", {"prompt", "kind"}, "what tokens, features and errors add to the metric, over all paths"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    engine::require_prompts(input, kInfo, true);
    const Params& p = input.params;
    transcoders_ = std::make_unique<TranscoderLayers>(input.model, *engine::read_set(input, "transcoders", doubts_));
    paths_ = {p.get_int("depth"), p.get_int("beam"), p.get_int("branches")};
    prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
    for (int64_t i = 0; i < prompts_; ++i)
      if (input.dataset.pairs[static_cast<size_t>(i)].answer_ids.empty() || input.dataset.pairs[static_cast<size_t>(i)].wrong_ids.empty())
        throw Error(StatusCode::kBadInput, "prompt " + std::to_string(i + 1) + " lacks an answer or a wrong answer", input.dataset.name, "give both: the metric is their difference");
    read_heads(p.get_string("heads"));
  }

  int64_t item_count() const override { return prompts_; }
  std::string item_title(int64_t item) const override { return "prompt " + std::to_string(item + 1); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    progress.step(0, 2, "freezing the model");
    const PromptPair& pair = input_.dataset.pairs[static_cast<size_t>(item)];
    FrozenOptions options;
    options.form = input_.form;
    const FrozenModel frozen(input_.model, pair.clean_ids, *transcoders_, options);
    at::Tensor direction = metric_direction(pair);
    progress.step(1, 2, "following paths");
    return numbers_of(frozen, direction, greedy_paths(frozen, direction, paths_, heads_));
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    at::NoGradGuard no_grad;
    CircuitSummary summary(input_, *transcoders_, items, prompts_);
    FrozenOptions options;
    options.form = input_.form;
    const FrozenModel first(input_.model, input_.dataset.pairs[0].clean_ids, *transcoders_, options);
    AnalysisResult out = summary.result(first, input_.params.get_int("features"), heads_);
    out.warnings = doubts_;
    return out;
  }

 private:
  void read_heads(const std::string& text) {
    const int64_t layers = engine::layer_count(input_.model);
    for (int64_t l = 0; l < layers; ++l) heads_.emplace_back(static_cast<size_t>(engine::pattern_heads(input_.model, l)), text == "all");
    if (text == "all" || text == "none") return;
    for (const engine::NodeName& n : engine::parse_nodes(input_.model, text, "heads")) {
      if (n.kind != engine::NodeName::Kind::kHead || !n.role.empty())
        throw Error(StatusCode::kBadInput, "'" + n.text() + "' is no head", "param heads", "write all, none, or heads with commas between: 2.0,3.1");
      heads_[static_cast<size_t>(n.layer)][static_cast<size_t>(n.head)] = true;
    }
  }

  // What the metric reads of unembed.hook_in.
  at::Tensor metric_direction(const PromptPair& pair) const {
    const ModelConfig& c = input_.model.config();
    at::Tensor table = input_.model.weights().get(c.tied_unembedding ? "embed.weight" : "unembed.weight");
    const auto mean = [&](const std::vector<int64_t>& ids) {
      at::Tensor rows = table.index_select(0, at::tensor(ids, at::TensorOptions().dtype(at::kLong)).to(table.device()));
      return (rows.scalar_type() == at::kDouble ? rows : rows.to(at::kFloat)).mean(0);
    };
    return (mean(pair.answer_ids) - mean(pair.wrong_ids)) * c.logit_scale;
  }

  AnalysisInput input_;
  std::unique_ptr<TranscoderLayers> transcoders_;
  std::vector<std::string> doubts_;            // transcoders of other weights
  PathOptions paths_;
  std::vector<std::vector<bool>> heads_;
  int64_t prompts_ = 0;
};

}  // namespace

void register_transcoder_circuit(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
