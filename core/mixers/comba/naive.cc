#include <ATen/ATen.h>

#include "core/mixers/comba/forms.h"

namespace microtome::mixers {

// Comba, arXiv 2506.02475: a closed loop that erases by its own key p before the decay,
//
//   S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - S_{t-1}^T p_t)^T;   z_t = scale S_t^T q_t
at::Tensor comba_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor decayed = decay_at(in, t) * state.S;
    state.S = decayed + comba_write(in, t, state.S, decayed);
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

at::Tensor comba_write(const RecurrenceInput& in, int64_t t, const at::Tensor& before, const at::Tensor& decayed) {
  at::Tensor p = in.a.select(1, t), v = in.v.select(1, t), beta = in.beta.select(1, t).unsqueeze(-1);
  return outer_product(in.k.select(1, t), beta * (v - read_state(before, p)));
}

}  // namespace microtome::mixers
