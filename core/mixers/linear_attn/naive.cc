#include <ATen/ATen.h>

#include "core/mixers/linear_attn/forms.h"

namespace microtome::mixers {

// Katharopoulos et al., arXiv 2006.16236, eqs. 16-20, on q and k after their feature map:
//
//   S_t = S_{t-1} + k_t v_t^T;   n_t = n_{t-1} + k_t
//   z_t = scale S_t^T q_t                              without a normaliser
//   z_t = scale S_t^T q_t / (scale n_t . q_t + 1e-10)  with one
at::Tensor linear_attn_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    at::Tensor q = in.q.select(1, t), k = in.k.select(1, t), v = in.v.select(1, t);
    state.S = state.S + outer_product(k, v);
    if (state.z.defined()) state.z = state.z + k;
    if (!read_out) continue;
    at::Tensor top = read_state(state.S, q) * in.scale;
    if (!state.z.defined()) z.push_back(top);
    else z.push_back(top / (read_state(state.z.unsqueeze(-1), q) * in.scale + kNormalizerEps));
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

}  // namespace microtome::mixers
