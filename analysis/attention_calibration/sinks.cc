#include "analysis/attention_calibration/sinks.h"

#include <ATen/ATen.h>

#include "analysis/engine/layers.h"

namespace microtome::analyses {

Sinks find_sinks(const at::Tensor& pattern, bool recurrent, const SinkRule& rule) {
  const int64_t length = pattern.size(2);
  at::Tensor mass = engine::attention_mass(pattern, recurrent, length).to(at::kDouble);   // [batch, head, q, k]
  at::Tensor query = at::arange(length, mass.options()).unsqueeze(1), key = at::arange(length, mass.options()).unsqueeze(0);
  at::Tensor later = (query > key).to(at::kDouble);                                      // [q, k]
  at::Tensor count = later.sum(0);
  at::Tensor mean = (mass * later).sum(2) / count.clamp_min(1);                          // over later queries
  at::Tensor uniform = (later / (query + 1)).sum(0) / count.clamp_min(1);
  Sinks out;
  out.is_sink = at::logical_and(mean > rule.multiple * uniform, count >= static_cast<double>(rule.min_queries));
  out.is_sink.select(2, 0).copy_(rule.first ? mass.select(3, 0).mean(2) > rule.epsilon : at::zeros_like(out.is_sink.select(2, 0)));
  out.mass = (mass * out.is_sink.unsqueeze(2)).sum(3).mean(2);
  return out;
}

at::Tensor calibrate(const at::Tensor& pattern, const at::Tensor& is_sink, double factor, bool renormalise) {
  at::Tensor sink = is_sink.repeat_interleave(pattern.size(3) / is_sink.size(2), 2).unsqueeze(2).to(pattern.scalar_type());
  if (!renormalise) return pattern * (1 + (factor - 1) * sink);
  at::Tensor whole = pattern.sum(3, true), on_sinks = (pattern * sink).sum(3, true), rest = whole - on_sinks;
  at::Tensor wanted = at::minimum(on_sinks * factor, whole);
  // Where nothing lies beside the sinks there is nothing to give to or take from.
  at::Tensor free = (rest > 1e-12).logical_and(on_sinks > 0);
  at::Tensor up = at::where(free, wanted / on_sinks.clamp_min(1e-30), at::ones_like(whole));
  at::Tensor other = at::where(free, (whole - wanted) / rest.clamp_min(1e-30), at::ones_like(whole));
  return pattern * (sink * up + (1 - sink) * other);
}

}  // namespace microtome::analyses
