#include "analysis/circuit/scores.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/rng.h"

namespace microtome::circuit {

at::Tensor bootstrap_weights(int64_t resamples, int64_t prompts, uint64_t seed) {
  at::Tensor out = at::zeros({resamples, prompts}, at::kFloat);
  float* data = out.mutable_data_ptr<float>();
  for (int64_t r = 0; r < resamples; ++r) {
    Rng rng(item_seed(seed, r));
    for (int64_t i = 0; i < prompts; ++i) data[r * prompts + static_cast<int64_t>(rng.below(static_cast<uint64_t>(prompts)))] += 1;
  }
  return out;
}

at::Tensor best_edges(const Graph& graph, const at::Tensor& scores, int64_t count, bool by_size) {
  at::Tensor s = scores.to(at::kCPU, at::kDouble).contiguous();
  const double* data = s.const_data_ptr<double>();
  const int64_t inputs = graph.input_count();
  std::vector<int64_t> edges;
  edges.reserve(static_cast<size_t>(graph.edge_count()));
  for (int64_t k = 0; k < graph.source_count(); ++k)
    for (int64_t i = 0; i < inputs; ++i)
      if (k < graph.inputs()[static_cast<size_t>(i)].sources && !std::isnan(data[k * inputs + i])) edges.push_back(k * inputs + i);
  auto value = [&](int64_t e) { return by_size ? std::fabs(data[e]) : data[e]; };
  count = std::clamp<int64_t>(count, 0, static_cast<int64_t>(edges.size()));
  auto better = [&](int64_t a, int64_t b) { return value(a) != value(b) ? value(a) > value(b) : a < b; };
  if (count < static_cast<int64_t>(edges.size())) std::nth_element(edges.begin(), edges.begin() + count, edges.end(), better);
  at::Tensor out = at::zeros({graph.source_count(), inputs}, at::kBool);
  bool* inside = out.mutable_data_ptr<bool>();
  for (int64_t i = 0; i < count; ++i) inside[edges[static_cast<size_t>(i)]] = true;
  return out;
}

at::Tensor without_dead_ends(const Graph& graph, const at::Tensor& given) {
  at::Tensor out = given.to(at::kCPU, at::kBool).clone(at::MemoryFormat::Contiguous);
  bool* inside = out.mutable_data_ptr<bool>();
  const int64_t sources = graph.source_count(), inputs = graph.input_count();
  // Inputs are in order of the run, so one pass forward and one back settle both.
  std::vector<bool> reached(static_cast<size_t>(sources), false), leads(static_cast<size_t>(sources), false);
  reached[0] = true;
  for (int64_t i = 0; i < inputs; ++i) {
    const Input& in = graph.inputs()[static_cast<size_t>(i)];
    for (int64_t k = 0; k < in.sources; ++k) {
      bool& edge = inside[k * inputs + i];
      edge = edge && reached[static_cast<size_t>(k)];
      if (edge && in.node >= 0) reached[static_cast<size_t>(in.node)] = true;
    }
  }
  for (int64_t i = inputs - 1; i >= 0; --i) {
    const Input& in = graph.inputs()[static_cast<size_t>(i)];
    for (int64_t k = 0; k < in.sources; ++k) {
      bool& edge = inside[k * inputs + i];
      edge = edge && (in.node < 0 || leads[static_cast<size_t>(in.node)]);
      if (edge) leads[static_cast<size_t>(k)] = true;
    }
  }
  return out;
}

at::Tensor without_node(const Graph& graph, const at::Tensor& inside, int64_t source) {
  at::Tensor out = inside.clone();
  out[source].fill_(false);
  for (int64_t i = 0; i < graph.input_count(); ++i)
    if (graph.inputs()[static_cast<size_t>(i)].node == source) out.select(1, i).fill_(false);
  return out;
}

int64_t edges_of_share(const Graph& graph, double percent) {
  return std::clamp<int64_t>(std::llround(percent / 100 * static_cast<double>(graph.edge_count())), 1, graph.edge_count());
}

std::vector<bool> nodes_inside(const Graph& graph, const at::Tensor& given) {
  at::Tensor t = given.to(at::kCPU, at::kBool).contiguous();
  const bool* inside = t.const_data_ptr<bool>();
  std::vector<bool> out(static_cast<size_t>(graph.source_count()), false);
  for (int64_t i = 0; i < graph.input_count(); ++i) {
    const Input& in = graph.inputs()[static_cast<size_t>(i)];
    for (int64_t k = 0; k < in.sources; ++k) {
      if (!inside[k * graph.input_count() + i]) continue;
      out[static_cast<size_t>(k)] = true;
      if (in.node >= 0) out[static_cast<size_t>(in.node)] = true;
    }
  }
  return out;
}

}  // namespace microtome::circuit
