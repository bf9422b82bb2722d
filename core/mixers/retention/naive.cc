#include <ATen/ATen.h>

#include "core/mixers/retention/forms.h"

namespace microtome::mixers {

// RetNet, arXiv 2307.08621, eq. 6, with a fixed gamma_h = 1 - 2^(-5-h) a head (in.g holds its logarithm):
//
//   S_t = gamma S_{t-1} + k_t v_t^T;   z_t = scale S_t^T q_t
at::Tensor retention_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor gamma = decay_at(in, t);
    state.S = gamma * state.S + outer_product(in.k.select(1, t), in.v.select(1, t));
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
