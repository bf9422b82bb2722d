#include <ATen/ATen.h>

#include "core/mixers/rwkv7/forms.h"

namespace microtome::mixers {

// RWKV-7, arXiv 2503.14456, eq. 16: a transition that is diagonal plus low rank. The erasing half sees the state before the
// decay; with a = -kk and b = kk ∘ rate, kk of unit length, it takes away what the state answers to kk,
//
//   S_t = (diag(exp(g_t)) + b_t a_t^T) S_{t-1} + k_t v_t^T;   z_t = scale S_t^T q_t
at::Tensor dplr_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor decayed = decay_at(in, t) * state.S;
    state.S = decayed + dplr_write(in, t, state.S, decayed);
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

at::Tensor dplr_write(const RecurrenceInput& in, int64_t t, const at::Tensor& before, const at::Tensor& decayed) {
  at::Tensor answer = read_state(before, in.a.select(1, t));
  return outer_product(in.b.select(1, t), answer) + outer_product(in.k.select(1, t), in.v.select(1, t));
}

}  // namespace microtome::mixers
