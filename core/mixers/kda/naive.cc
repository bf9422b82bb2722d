#include <ATen/ATen.h>

#include "core/mixers/kda/forms.h"

namespace microtome::mixers {

// Kimi Delta Attention, arXiv 2510.26692, eq. 1, k of unit length: one decay a key channel, then erase and write,
//
//   S' = diag(exp(g_t)) S_{t-1};   S_t = S' + beta_t k_t (v_t - S'^T k_t)^T;   z_t = scale S_t^T q_t
at::Tensor kda_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor k = in.k.select(1, t), v = in.v.select(1, t), beta = in.beta.select(1, t).unsqueeze(-1);
    at::Tensor decayed = decay_at(in, t) * state.S;
    state.S = decayed + outer_product(k, beta * (v - read_state(decayed, k)));
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
