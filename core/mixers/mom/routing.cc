#include "core/mixers/mom/routing.h"

#include <ATen/ATen.h>

#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

Routing route(const at::Tensor& logits, int64_t topk, bool shared) {
  at::Tensor scores = at::softmax(at_least_float32(logits), -1), chosen = std::get<1>(scores.topk(topk, -1));
  at::Tensor best = scores.gather(-1, chosen), none = at::zeros_like(scores);
  at::Tensor weight = none.scatter(-1, chosen, best / best.sum(-1, true)), mask = none.scatter(-1, chosen, 1.0);
  if (!shared) return {weight, mask};
  return {at::constant_pad_nd(weight, {0, 1}, 1.0), at::constant_pad_nd(mask, {0, 1}, 1.0)};
}

// The tokens of each memory are moved to the front, in order, and back behind the convolution: none of them sees one of
// those that follow.
at::Tensor convolve_routed(const at::Tensor& x, const at::Tensor& mask, const at::Tensor& weight, at::Tensor& window) {
  const int64_t B = x.size(0), T = x.size(1), M = x.size(2), C = x.size(3), before = weight.size(2) - 1;
  at::Tensor routed = mask.transpose(1, 2).reshape({B * M, T});
  at::Tensor order = std::get<1>(at::sort(routed, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  auto moved = [&](const at::Tensor& y, const at::Tensor& to) { return y.gather(1, to.unsqueeze(2).expand({B * M, T, C})); };
  at::Tensor dense = moved(x.transpose(1, 2).reshape({B * M, T, C}), order);
  at::Tensor old = window.defined() ? window.view({B, before, M, C}).transpose(1, 2).reshape({B * M, before, C})
                                    : dense.new_zeros({B * M, before, C});
  old = old.to(dense.scalar_type());
  at::Tensor all = at::cat({old, dense}, 1), y = short_conv(dense, weight, {}, &old);
  y = moved(y, at::argsort(order, int64_t{1}, false)) * routed.unsqueeze(2).to(y.scalar_type());
  at::Tensor last = routed.sum(1, true).to(at::kLong) + at::arange(before, order.options());
  window = all.gather(1, last.unsqueeze(2).expand({B * M, before, C})).view({B, M, before, C}).transpose(1, 2).flatten(2);
  return y.view({B, M, T, C}).transpose(1, 2);
}

}  // namespace microtome::mixers
