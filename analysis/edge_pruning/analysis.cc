// edge_pruning — circuits by learned masks, arXiv 2406.16778; definition in README.md.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/scores.h"
#include "analysis/edge_pruning/hard_concrete.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/registry.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;
using namespace microtome::circuit;

constexpr int64_t kStepsAnItem = 25;

const AnalysisInfo kInfo = {
    "edge_pruning", 1, "Edge pruning",
    "A gate on every edge (hard concrete) is trained so that the circuit's answer stays that of the whole model (KL) while a "
    "Lagrangian drives the share of open gates to a target; the most open ones are the circuit.",
    "arXiv 2406.16778", AnalysisInfo::Prompts::kPairs,
    {{"edge_scores", {"source", "destination"}, "log alpha of every edge's gate: above 0 it is more open than closed"},
     {"gate", {"source", "destination"}, "probability that the gate is not 0"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input)
      : input_(input), graph_((require_prompts(input, kInfo, input.params.get_string("metric") != "kl"), input.model)),
        metric_(metric_name(input, input.params.get_string("metric"))), outside_(parse_outside(input.params.get_string("outside"))),
        data_(input_, graph_, "kl", outside_, input.params.get_int("prompts_a_step")), steps_(input.params.get_int("steps")) {
    at::Tensor possible = graph_.possible().flatten().nonzero().squeeze(1);
    edges_ = possible;                                 // flat index of each edge
  }

  void set_batch(int64_t rows) override { data_.set_batch(rows); }
  int64_t item_count() const override { return (steps_ + kStepsAnItem - 1) / kStepsAnItem + 1; }
  std::string item_title(int64_t i) const override {
    return i + 1 == item_count() ? "the circuit found" : "steps " + std::to_string(i * kStepsAnItem) + " to " + std::to_string(std::min(steps_, (i + 1) * kStepsAnItem));
  }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    if (item == 0) {
      // Gates begin open, as in the paper's code.
      log_alpha_ = at::full({edges_.numel()}, 2.0, at::kDouble);
      first_ = at::zeros_like(log_alpha_);
      second_ = at::zeros_like(log_alpha_);
      lagrange_ = at::zeros({3, 2}, at::kDouble);
      return;
    }
    const auto& last = so_far[static_cast<size_t>(item - 1)];
    log_alpha_ = to_tensor(find_array(last, "log_alpha"));
    first_ = to_tensor(find_array(last, "first"));
    second_ = to_tensor(find_array(last, "second"));
    lagrange_ = to_tensor(find_array(last, "lagrange"));
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    if (item + 1 == item_count()) return measure(progress);
    std::vector<double> losses, opens;
    const int64_t end = std::min(steps_, (item + 1) * kStepsAnItem);
    for (int64_t step = item * kStepsAnItem; step < end; ++step) {
      progress.step(step - item * kStepsAnItem, end - item * kStepsAnItem, item_title(item));
      auto [loss, open] = train(step);
      losses.push_back(loss);
      opens.push_back(open);
    }
    return {to_array("log_alpha", {"edge"}, log_alpha_), to_array("first", {"edge"}, first_), to_array("second", {"edge"}, second_),
            to_array("lagrange", {"moment", "multiplier"}, lagrange_), to_array("loss", {"step"}, at::tensor(losses, at::kDouble)),
            to_array("open", {"step"}, at::tensor(opens, at::kDouble))};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    const auto& trained = items[items.size() - 2];
    at::Tensor scores = on_edges(to_tensor(find_array(trained, "log_alpha"))), inside = chosen(scores);
    at::Tensor values = to_tensor(find_array(items.back(), "values"));
    AnalysisResult out;
    const std::string unit = Metric::unit(metric_);
    auto line = [&](const std::string& name, int64_t row, const std::string& help) {
      at::Tensor v = values[row].contiguous();
      out.summary.push_back(summarise(name, {v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel()}, unit, help, input_.seed));
    };
    line("whole_" + metric_, 0, "metric of the whole model");
    line("empty_" + metric_, 1, "metric with every edge cut");
    line("circuit_" + metric_, 2, "metric of the circuit");
    const double span = (values[0].mean() - values[1].mean()).item<double>(), gain = (values[2].mean() - values[1].mean()).item<double>();
    const int64_t kept = inside.sum().item<int64_t>();
    out.summary.push_back(plain_number("circuit_edges", static_cast<double>(kept), "", "edges of the circuit, without dead ends"));
    out.summary.push_back(plain_number("edges", static_cast<double>(graph_.edge_count()), "", "edges of the model's graph"));
    Series curve{"training", "Training of the gates", "step", "", {{"KL (nats)", {}, {}}, {"open gates (share)", {}, {}}}};
    for (size_t i = 0; i + 1 < items.size(); ++i)
      for (int64_t k = 0; k < find_array(items[i], "loss").size(); ++k) {
        for (auto& l : curve.lines) l.x.push_back(static_cast<double>(l.x.size()));
        curve.lines[0].y.push_back(find_array(items[i], "loss").at(k));
        curve.lines[1].y.push_back(find_array(items[i], "open").at(k));
      }
    out.summary.push_back(plain_number("open_gates", curve.lines[1].y.back(), "", "expected share of open gates at the end of the training"));
    TensorMap map{"edge_scores", "The edges' gates", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}}, {{"edge_scores", "diverging"}, {"gate", "sequential"}}};
    map.arrays.push_back(to_array("edge_scores", {"source", "destination"}, scores.to(at::kFloat), "", "log alpha of the gate; NaN where there is no edge"));
    map.arrays.push_back(to_array("gate", {"source", "destination"}, gate_open(scores).to(at::kFloat), "", "probability that the gate is not 0"));
    out.artifacts.push_back(std::move(map));
    // log alpha of a closed gate is far below 0, so that its size would rank closed gates first: the probability does not.
    out.artifacts.push_back(graph_.to_circuit("circuit", "Circuit of the most open gates", gate_open(scores), inside));
    out.artifacts.push_back(edge_table(graph_, scores, inside, "", "log alpha of the gate"));
    out.artifacts.push_back(std::move(curve));
    out.findings.push_back("The circuit of " + std::to_string(kept) + " of " + std::to_string(graph_.edge_count()) + " edges" +
                           (std::fabs(span) > 1e-9 ? " brings back " + short_number(100 * gain / span) + " % of the whole model's " + metric_ : " was found") + ".");
    if (!graph_.note().empty()) out.warnings.push_back(graph_.note() + ".");
    return out;
  }

 private:
  at::Tensor on_edges(const at::Tensor& values) const {
    at::Tensor out = at::full({graph_.source_count() * graph_.input_count()}, NAN, at::kDouble);
    return out.index_copy_(0, edges_, values).view({graph_.source_count(), graph_.input_count()});
  }
  at::Tensor chosen(const at::Tensor& scores) const {
    return without_dead_ends(graph_, best_edges(graph_, scores, edges_of_share(graph_, input_.params.get_float("share")), false));
  }

  std::vector<NamedArray> measure(Progress& progress) {
    progress.step(0, 1, "the circuit found");
    CircuitPrompts asked(input_, graph_, metric_, outside_, 0);
    at::Tensor all = graph_.possible();
    return {to_array("values", {"run", "prompt"}, asked.run(at::stack({all, at::zeros_like(all), chosen(on_edges(log_alpha_))}), 0))};
  }

  // One step: gates drawn, a run of one group, its gradient. → KL, expected share of open gates.
  std::pair<double, double> train(int64_t step) {
    Rng rng(item_seed(input_.seed, static_cast<uint64_t>(step)));
    EdgeRunner& runner = data_.runner(rng.below(data_.groups().size()));
    at::Tensor uniform = at::empty({edges_.numel()}, at::kDouble);
    double* u = uniform.mutable_data_ptr<double>();
    for (int64_t i = 0; i < edges_.numel(); ++i) u[i] = std::clamp(rng.uniform(), 1e-6, 1 - 1e-6);
    const double warm = input_.params.get_float("warm_up") * static_cast<double>(steps_);
    const double target = (1 - input_.params.get_float("share") / 100) * (warm > 0 ? std::min(1.0, static_cast<double>(step + 1) / warm) : 1.0);

    at::AutoGradMode grad(true);
    const auto options = runner.clean_logits().options();
    at::Tensor leaf = log_alpha_.to(options.dtype(at::kFloat)).requires_grad_(true);
    at::Tensor gates = sample_gates(leaf, uniform.to(leaf.options().requires_grad(false)));
    at::Tensor inside = at::ones({graph_.source_count() * graph_.input_count()}, leaf.options().requires_grad(false)).index_copy(0, edges_.to(leaf.device()), gates);
    at::Tensor kl = runner.measure(runner.run_soft(inside.view({graph_.source_count(), graph_.input_count()}))).mean();
    at::Tensor sparsity = 1 - gate_open(leaf).mean(), gap = target - sparsity;
    const double l1 = lagrange_[0][0].item<double>(), l2 = lagrange_[0][1].item<double>();
    at::Tensor loss = kl + (l1 * gap + l2 * gap * gap).to(kl.scalar_type());
    at::Tensor gradient = hook_autograd(loss, {leaf}, false).at(0).to(at::kCPU, at::kDouble);
    at::NoGradGuard no_grad;
    adam_step(log_alpha_, gradient, first_, second_, step + 1, input_.params.get_float("lr"));
    // The multipliers climb: their gradient is the constraint itself.
    const double g = gap.item<double>();
    at::Tensor multipliers = lagrange_[0].clone(), m = lagrange_[1].clone(), v = lagrange_[2].clone();
    adam_step(multipliers, at::tensor({-g, -g * g}, at::kDouble), m, v, step + 1, input_.params.get_float("lagrange_lr"));
    lagrange_ = at::stack({multipliers, m, v});
    return {kl.item<double>(), 1 - sparsity.item<double>()};
  }

  AnalysisInput input_;
  Graph graph_;
  std::string metric_;
  Outside outside_;
  CircuitPrompts data_;
  int64_t steps_;
  at::Tensor edges_, log_alpha_, first_, second_, lagrange_;   // lagrange: values, two moments
};

}  // namespace

void register_edge_pruning(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
