#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/gla/forms.h"

namespace microtome::mixers {

// Chunk c with the state S before it, b the sum of g from the chunk's start, by channel i:
//
//   z_t = scale ((q_t ∘ exp(b_t)) S + sum_{s<=t} (sum_i q_ti k_si exp(b_ti - b_si)) v_s)
//   S'  = diag(exp(b_C)) S + sum_s (k_s ∘ exp(b_C - b_s)) v_s^T
//
// The inner sum over channels is taken block by block (Chunks::scores), so no [C, C, K] tensor is made.
at::Tensor gla_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor writes = at::matmul((c.k * c.to_end()).transpose(2, 3), c.v);
  Border border = pass_states(c.whole(), writes, c.state(state.S));
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), c.v)) * c.scale;
}

}  // namespace microtome::mixers
