#include <ATen/ATen.h>

#include "core/mixers/gsa/forms.h"

namespace microtome::mixers {

// Gated slot attention, arXiv 2409.07146, eq. 9, the keys' half: every slot fades by its own exp(g) and takes up s of k,
//
//   H_t = H_{t-1} diag(exp(g_t)) + k_t s_t^T;   result_t = scale H_t^T q_t
at::Tensor slot_scores_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> found;
  for (int64_t t = 0; t < in.positions(); ++t) {
    state.S = state.S * in.g.select(1, t).exp().unsqueeze(-2) + outer_product(in.k.select(1, t), in.v.select(1, t));
    if (read_out) found.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(found, 1) : at::Tensor();
}

}  // namespace microtome::mixers
