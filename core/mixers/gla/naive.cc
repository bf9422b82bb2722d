#include <ATen/ATen.h>

#include "core/mixers/gla/forms.h"

namespace microtome::mixers {

// Gated linear attention, arXiv 2312.06635, eq. 3, with one decay alpha_t = exp(g_t) a key channel:
//
//   S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T;   z_t = scale S_t^T q_t
at::Tensor gla_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    state.S = decay_at(in, t) * state.S + outer_product(in.k.select(1, t), in.v.select(1, t));
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
