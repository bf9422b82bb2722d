// circuit_eval — how good a circuit is and how sure one may be of it, arXiv 2504.13151, 2211.00593; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/circuit/attribution.h"
#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/scores.h"
#include "analysis/circuit_eval/outcome.h"
#include "analysis/circuit_eval/plan.h"
#include "analysis/engine/arrays.h"
#include "analysis/registry.h"
#include "core/io/circuit_file.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;
using namespace microtome::circuit;

const AnalysisInfo kInfo = {
    "circuit_eval", 1, "Evaluation of a circuit",
    "Faithfulness (m(C) - m(empty)) / (m(whole) - m(empty)) of the best edges at ten sizes, the areas CPR and CMD, completeness, "
    "minimality, and how much of it changes when the prompts are drawn anew.",
    "arXiv 2504.13151, 2211.00593", AnalysisInfo::Prompts::kPairs,
    {{"faithfulness", {"size"}, "at the shares 0.1 … 100 % of edges"},
     {"edge_scores", {"source", "destination"}, "the ranking that is evaluated"},
     {"frequency", {"source", "destination"}, "share of resamples in which the edge is in the circuit"},
     {"minimality", {"node"}, "loss of faithfulness without each node"},
     {"completeness", {"subset"}, "|m(C without K) - m(whole without K)| of each drawn set"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input)
      : input_(input), graph_((require_prompts(input, kInfo, input.params.get_string("metric") != "kl"), input.model)),
        metric_(metric_name(input, input.params.get_string("metric"))),
        data_(input_, graph_, metric_, parse_outside(input.params.get_string("outside")), input.params.get_int("batch_size")) {
    const std::string file = input.params.get_string("circuit"), reference = input.params.get_string("reference");
    if (!file.empty()) {
      Circuit c = read_circuit_file(file).value();
      given_ = graph_.inside_of(c, file);
      at::Tensor scores = graph_.scores_of(c, file);
      // Edges without a score rank by whether they are inside.
      given_scores_ = at::where(scores.isnan(), given_.to(at::kDouble) * 1e-12, scores);
      if (given_.sum().item<int64_t>() == 0) throw Error(StatusCode::kBadInput, "the circuit has no edge", file, "give one with edges in the graph");
    }
    if (!reference.empty()) reference_ = graph_.inside_of(read_circuit_file(reference).value(), reference);
    const std::string method = input.params.get_string("method");
    how_.gradient = method == "eap" ? Attribution::Gradient::kClean
                    : method == "eap_ig" ? Attribution::Gradient::kInputs
                    : method == "eap_ig_activations" ? Attribution::Gradient::kActivations : Attribution::Gradient::kBothEnds;
    how_.steps = input.params.get_int("steps");
    prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
    if (given_.defined()) return;
    groups_ = group_prompts(input, true, kPromptsAnItem);
    draws_ = draw_prompts(input, prompts_ > 1 ? input.params.get_int("resamples") : 0);
  }

  void set_batch(int64_t rows) override {
    rows_ = rows;
    data_.set_batch(rows);
  }
  // Scores of each group of prompts, then the circuits made of them.
  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()) + 1; }
  std::string item_title(int64_t i) const override { return i < static_cast<int64_t>(groups_.size()) ? "scores of edges" : "circuits of every size"; }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    if (item == static_cast<int64_t>(groups_.size())) plan_ = make_plan(so_far);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    if (item == static_cast<int64_t>(groups_.size())) return evaluate(progress);
    const PromptGroup& g = groups_[static_cast<size_t>(item)];
    progress.step(0, 100, item_title(item));
    GroupScores s = attribute_prompts(graph_, input_, g, metric_, how_, false, rows_,
                                      [&](double share) { progress.step(static_cast<int64_t>(share * 99), 100, item_title(item)); });
    at::NoGradGuard no_grad;
    std::vector<NamedArray> out = {to_array("sum", {"source", "destination"}, s.edges.to(at::kDouble).sum(0))};
    if (draws_.weights.size(0) > 0) {
      at::Tensor w = draws_.weights.index_select(1, at::tensor(g.prompts, at::kLong)).to(s.edges.device(), s.edges.scalar_type());
      out.push_back(to_array("drawn", {"draw", "source", "destination"}, at::tensordot(w, s.edges, {1}, {0})));
    }
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    EvalPlan plan = make_plan(items);
    EvalOutcome outcome(input_, graph_, metric_, plan, draws_);
    return outcome.result(scores_of(items), drawn(items), to_tensor(find_array(items.back(), "values")), reference_, given_.defined(), input_.params.get_float("share"),
                          input_.params.get_string("rank") == "size");
  }

 private:
  at::Tensor scores_of(const std::vector<std::vector<NamedArray>>& items) const {
    if (given_.defined()) return given_scores_;
    return added(items, "sum") / static_cast<double>(prompts_);
  }
  at::Tensor drawn(const std::vector<std::vector<NamedArray>>& items) const {
    return draws_.weights.defined() && draws_.weights.size(0) > 0 ? added(items, "drawn") : at::Tensor();
  }
  at::Tensor added(const std::vector<std::vector<NamedArray>>& items, const std::string& name) const {
    at::Tensor out;
    for (size_t i = 0; i < groups_.size(); ++i) {
      at::Tensor one = to_tensor(find_array(items[i], name)).to(at::kDouble);
      out = out.defined() ? out + one : one;
    }
    return out;
  }
  EvalPlan make_plan(const std::vector<std::vector<NamedArray>>& items) const {
    return plan_evaluation(graph_, scores_of(items), given_, input_.params.get_float("share"), input_.params.get_string("rank") == "size", drawn(items),
                           input_.params.get_int("subsets"), input_.seed);
  }

  std::vector<NamedArray> evaluate(Progress& progress) {
    const int64_t total = plan_.circuits.size(0), part = std::max<int64_t>(1, data_.circuits_at_once(0));
    std::vector<at::Tensor> values;
    for (int64_t from = 0; from < total; from += part) {
      progress.step(from, total, item_title(static_cast<int64_t>(groups_.size())));
      values.push_back(data_.run(plan_.circuits.narrow(0, from, std::min(part, total - from)), 0));
    }
    return {to_array("values", {"circuit", "prompt"}, at::cat(values))};
  }

  AnalysisInput input_;
  Graph graph_;
  std::string metric_;
  CircuitPrompts data_;
  Attribution how_;
  at::Tensor given_, given_scores_, reference_;
  std::vector<PromptGroup> groups_;
  Draws draws_;
  EvalPlan plan_;
  int64_t prompts_ = 0, rows_ = 0;
};

}  // namespace

void register_circuit_eval(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
