#include "core/mixers/rg_lru/gates.h"

#include <ATen/ATen.h>

namespace microtome::mixers {

namespace {

// A sigmoid gate a block: x [batch, pos, block, w] → [batch, pos, channel].
at::Tensor block_gate(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return (at::einsum("btnw,nwo->btno", {x, weight}) + bias).sigmoid().flatten(2);
}

}  // namespace

// Griffin, arXiv 2402.19427, eq. 3 to 5, c = 8:
//
//   r = sigmoid(u W_r + b_r);   i = sigmoid(u W_i + b_i);   log a = -c r softplus(Lambda);   k = sqrt(1 - a^2) i
RgLruGates rg_lru_gates(const at::Tensor& u, const RgLruWeights& w, int64_t first_pos) {
  at::Tensor x = u.view({u.size(0), u.size(1), w.input.size(0), w.input.size(1)});
  at::Tensor g = block_gate(x, w.recurrent, w.recurrent_bias) * (-8 * at::softplus(w.lambda));
  at::Tensor unit = (-at::expm1(2 * g)).sqrt();
  if (first_pos == 0) unit = at::cat({at::ones_like(unit.slice(1, 0, 1)), unit.slice(1, 1)}, 1);
  return {unit * block_gate(x, w.input, w.input_bias), g};
}

}  // namespace microtome::mixers
