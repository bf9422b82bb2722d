#include <ATen/ATen.h>

#include "core/mixers/delta_rule/forms.h"

namespace microtome::mixers {

// DeltaNet, arXiv 2102.11174 and 2406.06484, k of unit length: what the state answers to k_t is moved towards v_t,
//
//   S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T;   z_t = scale S_t^T q_t
at::Tensor delta_rule_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor k = in.k.select(1, t), v = in.v.select(1, t), beta = in.beta.select(1, t).unsqueeze(-1);
    state.S = state.S + outer_product(k, beta * (v - read_state(state.S, k)));
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
