#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/gated_delta_rule/forms.h"

namespace microtome::mixers {

// The delta rule's UT / WY form with decays (arXiv 2412.06464, section 3.3). b is the sum of g from the chunk's start,
// G[t,s] = exp(b_t - b_s), L = stril(diag(beta) (K K^T ∘ G)):
//
//   u = U - W S,  U = (I + L)^-1 diag(beta) V,  W = (I + L)^-1 diag(beta exp(b)) K
//   Z = scale (diag(exp(b)) Q S + tril(Q K^T ∘ G) u);   S' = exp(b_C) S + (diag(exp(b_C - b)) K)^T u
at::Tensor gated_delta_rule_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor right = at::cat({c.beta * c.v, c.beta * c.from_start() * c.k}, -1);
  at::Tensor both = solve_unit_lower(c.beta * c.scores(c.k), right);
  const int64_t V = c.v.size(3);
  DeltaBorder border = pass_delta_states(c.whole(), both.slice(3, 0, V), both.slice(3, V), c.k * c.to_end(),
                                         c.state(state.S), read_out);
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), border.values)) * c.scale;
}

}  // namespace microtome::mixers
