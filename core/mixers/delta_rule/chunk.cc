#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/delta_rule/forms.h"

namespace microtome::mixers {

// UT / WY form of arXiv 2406.06484. With L = stril(diag(beta) K K^T) the values u that a chunk really writes solve
//
//   (I + L) u = diag(beta) (V - K S),  so  u = U - W S,  U = (I + L)^-1 diag(beta) V,  W = (I + L)^-1 diag(beta) K
//   Z = scale (Q S + tril(Q K^T) u);   S' = S + K^T u
at::Tensor delta_rule_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor both = solve_unit_lower(c.beta * c.scores(c.k), at::cat({c.beta * c.v, c.beta * c.k}, -1));
  const int64_t V = c.v.size(3);
  DeltaBorder border = pass_delta_states(at::Tensor(), both.slice(3, 0, V), both.slice(3, V), c.k, c.state(state.S),
                                         read_out);
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q, border.starts) + at::matmul(c.scores(c.q), border.values)) * c.scale;
}

}  // namespace microtome::mixers
