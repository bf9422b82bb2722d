#include "analysis/circuit/sources.h"

#include <ATen/ATen.h>

#include "analysis/engine/layers.h"
#include "core/model/weights.h"

namespace microtome::circuit {
namespace {

const LayerConfig& layer_of(const Graph& g, const Writers& w) { return g.model().config().layers.at(static_cast<size_t>(w.layer)); }

}  // namespace

std::string post_scale_hook(const Graph& graph, const Writers& w) {
  if (!w.by_head) return {};
  const LayerConfig& l = layer_of(graph, w);
  if (!l.post1 || l.post1->kind == NormConfig::Kind::kNone) return {};
  return engine::block_point(w.layer, "ln1_post.hook_scale");
}

at::Tensor contribution(const Graph& graph, const Writers& w, const at::Tensor& value, const at::Tensor& post_scale) {
  if (!w.by_head) return value.unsqueeze(1);
  const LayerConfig& l = layer_of(graph, w);
  at::Tensor x = value;
  if (post_scale.defined()) {
    if (l.post1->kind == NormConfig::Kind::kLayer) x = x - x.mean(-1, true);
    x = x / post_scale.unsqueeze(2);
    at::Tensor gain = graph.model().weights().find(engine::block_point(w.layer, "ln1_post.weight"));
    if (gain.defined()) x = x * (l.post1->offset != 0 ? gain + l.post1->offset : gain);
  }
  if (l.add1 != 1) x = x * l.add1;
  return x.transpose(1, 2);
}

void capture_sources(const Graph& graph, HookPlan& plan) {
  for (const Writers& w : graph.writers()) {
    plan.capture(w.hook);
    if (std::string scale = post_scale_hook(graph, w); !scale.empty()) plan.capture(scale);
  }
}

namespace {

at::Tensor captured(const Graph& graph, const Writers& w, const ActivationCache& cache) {
  const std::string scale = post_scale_hook(graph, w);
  return contribution(graph, w, cache.get(w.hook).detach(), scale.empty() ? at::Tensor() : cache.get(scale).detach());
}

}  // namespace

at::Tensor captured_sources(const Graph& graph, const ActivationCache& cache) {
  at::Tensor out;
  for (const Writers& w : graph.writers()) {
    at::Tensor part = captured(graph, w, cache);
    if (!out.defined()) out = at::empty({part.size(0), graph.source_count(), part.size(2), part.size(3)}, part.options());
    out.narrow(1, w.first, w.count).copy_(part);
  }
  return out;
}

void subtract_sources(const Graph& graph, const ActivationCache& cache, at::Tensor& from) {
  for (const Writers& w : graph.writers()) from.narrow(1, w.first, w.count).sub_(captured(graph, w, cache));
}

}  // namespace microtome::circuit
