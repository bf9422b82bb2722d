#include "analysis/circuit/circuits_data.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace microtome::circuit {

CircuitPrompts::CircuitPrompts(const AnalysisInput& input, const Graph& graph, const std::string& metric, Outside outside, int64_t rows)
    : input_(input), graph_(graph), metric_(metric), outside_(outside) {
  if (outside == Outside::kMean) means_ = mean_sources(graph, input);
  if (rows > 0) rows_ = rows;
  groups_ = engine::group_prompts(input, outside == Outside::kCorrupted, rows_);
  runners_.resize(groups_.size());
  prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
}

void CircuitPrompts::set_batch(int64_t rows) {
  const bool less = batch_ > 0 && rows < batch_;
  batch_ = rows;
  if (!less) return;
  int64_t largest = 1;
  for (const engine::PromptGroup& g : groups_) largest = std::max(largest, g.clean.size(0));
  rows_ = std::max<int64_t>(1, largest / 2);
  runners_.clear();
  groups_ = engine::group_prompts(input_, outside_ == Outside::kCorrupted, rows_);
  runners_.resize(groups_.size());
}

EdgeRunner& CircuitPrompts::runner(size_t group) {
  if (!runners_[group]) runners_[group] = std::make_unique<EdgeRunner>(graph_, input_, groups_[group], metric_, outside_, means_);
  return *runners_[group];
}

at::Tensor CircuitPrompts::run(const at::Tensor& inside, int64_t from_layer) {
  at::Tensor out = at::empty({inside.size(0), prompts_}, at::kDouble);
  for (size_t g = 0; g < groups_.size(); ++g) out.index_copy_(1, at::tensor(groups_[g].prompts, at::kLong), runner(g).run(inside, from_layer));
  return out;
}

at::Tensor CircuitPrompts::clean() {
  at::Tensor out = at::empty({prompts_}, at::kDouble);
  for (size_t g = 0; g < groups_.size(); ++g) out.index_copy_(0, at::tensor(groups_[g].prompts, at::kLong), runner(g).clean());
  return out;
}

at::Tensor CircuitPrompts::distance(const at::Tensor& inside, int64_t from_layer) {
  at::Tensor mean = run(inside, from_layer).mean(1);
  return metric_ == "kl" ? mean : (mean - clean().mean()).abs();
}

int64_t CircuitPrompts::circuits_at_once(int64_t from_layer) {
  int64_t least = 4096;
  for (size_t g = 0; g < groups_.size(); ++g) least = std::min(least, runner(g).circuits_at_once(from_layer));
  return least;
}

Table edge_table(const Graph& graph, const at::Tensor& scores, const at::Tensor& inside, const std::string& unit, const std::string& help) {
  Table t{"top_edges", "The circuit's strongest edges", {{"from", "", "source"}, {"to", "", "destination"}, {"score", unit, help}}, {}};
  at::Tensor s = scores.to(at::kCPU, at::kDouble).abs().masked_fill(inside.logical_not(), -1).nan_to_num(-1).flatten();
  at::Tensor order = std::get<1>(s.sort(/*stable=*/true, -1, /*descending=*/true));
  const int64_t n = graph.input_count();
  for (int64_t i = 0; i < std::min<int64_t>(20, order.numel()); ++i) {
    const int64_t e = order[i].item<int64_t>();
    if (s[e].item<double>() < 0) break;
    t.rows.push_back({graph.sources()[static_cast<size_t>(e / n)].name, graph.inputs()[static_cast<size_t>(e % n)].name, scores.flatten()[e].item<double>()});
  }
  return t;
}

}  // namespace microtome::circuit
