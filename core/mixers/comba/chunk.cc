#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/comba/forms.h"

namespace microtome::mixers {

// The delta rule's chunks with an eraser that sees the state before its own token: b is the sum of g from the chunk's
// start, b_- the same up to the token before,
//
//   u = U - W S,  U = (I + L)^-1 diag(beta) V,  W = (I + L)^-1 diag(beta exp(b_-)) P
//   L[t,s] = beta_t p_t·k_s exp(b_{t-1} - b_s) for s < t
//   Z = scale (diag(exp(b)) Q S + tril(Q K^T ∘ G) u);   S' = exp(b_C) S + (diag(exp(b_C - b)) K)^T u
at::Tensor comba_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor p = c.part(in.a);
  at::Tensor right = at::cat({c.beta * c.v, c.beta * c.before_from_start(p)}, -1);
  at::Tensor both = solve_unit_lower(c.beta * c.scores_before(p, c.k), right);
  const int64_t V = c.v.size(3);
  DeltaBorder border = pass_delta_states(c.whole(), both.slice(3, 0, V), both.slice(3, V), c.k * c.to_end(),
                                         c.state(state.S), read_out);
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), border.values)) * c.scale;
}

}  // namespace microtome::mixers
