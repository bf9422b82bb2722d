#include <ATen/ATen.h>

#include "core/mixers/rwkv6/forms.h"

namespace microtome::mixers {

// RWKV-6, arXiv 2404.05892, eq. 19: read first, with a bonus u for the token's own key; then decay and write,
//
//   z_t = scale (S_{t-1} + diag(u) k_t v_t^T)^T q_t;   S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T
at::Tensor rwkv6_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    if (read_out) z.push_back((read_state(state.S, in.q.select(1, t)) + own_token(in, t)) * in.scale);
    state.S = decay_at(in, t) * state.S + outer_product(in.k.select(1, t), in.v.select(1, t));
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
