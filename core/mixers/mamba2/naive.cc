#include <ATen/ATen.h>

#include "core/mixers/mamba2/forms.h"

namespace microtome::mixers {

// Mamba-2, arXiv 2405.21060, eq. 1 with a scalar A a head: g_t = A dt_t, k_t = dt_t B_t, v_t = x_t, q_t = C_t,
//
//   S_t = exp(g_t) S_{t-1} + k_t v_t^T;   z_t = S_t^T q_t
at::Tensor mamba2_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    state.S = decay_at(in, t) * state.S + outer_product(in.k.select(1, t), in.v.select(1, t));
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
