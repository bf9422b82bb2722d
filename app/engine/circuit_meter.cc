#include "app/engine/circuit_meter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/scores.h"
#include "app/engine/open_model.h"

namespace microtome::app {
namespace {

constexpr int64_t kBootstraps = 500;

class Meter final : public CircuitMeter {
 public:
  Meter(const LoadedModel& model, const Dataset& dataset, const CircuitMeterOptions& options)
      : input_{*model.model, model.tokenizer.get(), dataset, {}, options.seed, MixerForm::kAuto}, graph_(*model.model),
        metric_(engine::metric_name(input_, options.metric)), data_(input_, graph_, metric_, circuit::parse_outside(options.outside), 0) {
    at::NoGradGuard no_grad;
    if (dataset.pairs.empty()) throw Error(StatusCode::kBadInput, "there are no prompts", "circuit", "give at least one pair of prompts");
    at::Tensor all = graph_.possible();
    ends_ = data_.run(at::stack({all, at::zeros_like(all)}), 0);
    draws_ = circuit::bootstrap_weights(kBootstraps, data_.prompts(), options.seed).to(at::kDouble) / static_cast<double>(data_.prompts());
  }

  double whole() const override { return ends_[0].mean().item<double>(); }
  double empty() const override { return ends_[1].mean().item<double>(); }
  const std::string& metric() const override { return metric_; }

  std::vector<CircuitMeasure> measure(const std::vector<const Circuit*>& circuits, const std::vector<std::string>& knocked_out, Progress& progress) override {
    at::NoGradGuard no_grad;
    std::vector<int64_t> out_nodes;
    for (const std::string& name : knocked_out) {
      const int64_t node = graph_.find_source(name);
      if (node < 0) throw Error(StatusCode::kBadInput, "the model has no node '" + name + "' that could be knocked out", "circuit", "use the input, a head or an MLP of this model");
      out_nodes.push_back(node);
    }
    std::vector<at::Tensor> masks;
    for (const Circuit* c : circuits) {
      at::Tensor inside = graph_.inside_of(*c, c->name.empty() ? "circuit" : c->name);
      for (int64_t node : out_nodes) inside = circuit::without_node(graph_, inside, node);
      masks.push_back(inside);
    }
    std::vector<CircuitMeasure> out;
    const int64_t at_once = std::max<int64_t>(1, data_.circuits_at_once(0)), total = static_cast<int64_t>(masks.size());
    for (int64_t from = 0; from < total; from += at_once) {
      progress.step(from, total, "circuits");
      std::vector<at::Tensor> some(masks.begin() + from, masks.begin() + std::min(total, from + at_once));
      at::Tensor values = data_.run(at::stack(some), 0);
      for (size_t i = 0; i < some.size(); ++i) out.push_back(one(some[i], values[static_cast<int64_t>(i)]));
    }
    progress.step(total, total, "circuits");
    return out;
  }

 private:
  CircuitMeasure one(const at::Tensor& inside, const at::Tensor& values) const {
    CircuitMeasure m;
    m.metric = values.mean().item<double>();
    m.faithfulness = (m.metric - empty()) / (whole() - empty());
    m.low = m.high = std::nan("");
    if (values.numel() > 1) {
      at::Tensor empty = draws_.matmul(ends_[1]), f = std::get<0>(((draws_.matmul(values) - empty) / (draws_.matmul(ends_[0]) - empty)).sort());
      m.low = f[kBootstraps * 25 / 1000].item<double>();
      m.high = f[kBootstraps - 1 - kBootstraps * 25 / 1000].item<double>();
    }
    m.edges = inside.sum().item<int64_t>();
    std::vector<bool> nodes = circuit::nodes_inside(graph_, inside);
    m.nodes = std::count(nodes.begin(), nodes.end(), true);
    return m;
  }

  AnalysisInput input_;
  circuit::Graph graph_;
  std::string metric_;
  circuit::CircuitPrompts data_;
  at::Tensor ends_, draws_;            // [whole and empty, prompt], [bootstrap, prompt]
};

}  // namespace

std::unique_ptr<CircuitMeter> make_circuit_meter(const LoadedModel& model, const Dataset& dataset, const CircuitMeterOptions& options) {
  return std::make_unique<Meter>(model, dataset, options);
}

}  // namespace microtome::app
