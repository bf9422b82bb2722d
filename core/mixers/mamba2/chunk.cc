#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/mamba2/forms.h"

namespace microtome::mixers {

// The block decomposition of arXiv 2405.21060, section 6: chunk c with the state S before it, b the sum of g from the
// chunk's start,
//
//   z_t = exp(b_t) S^T q_t + sum_{s<=t} exp(b_t - b_s) (q_t . k_s) v_s
//   S'  = exp(b_C) S + sum_s exp(b_C - b_s) k_s v_s^T
at::Tensor mamba2_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor writes = at::matmul((c.k * c.to_end()).transpose(2, 3), c.v);
  Border border = pass_states(c.whole(), writes, c.state(state.S));
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), c.v)) * c.scale;
}

}  // namespace microtome::mixers
