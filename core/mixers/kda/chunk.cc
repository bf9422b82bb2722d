#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/kda/forms.h"

namespace microtome::mixers {

// Chunk with the state S before it, b the sum of g from the chunk's start, by channel i. The score of two tokens is
// taken with the decay between them (arXiv 2510.26692, section 3.2), [QK][t,s] = sum_i q_ti k_si exp(b_ti - b_si):
//
//   u = U - W S,  U = (I + L)^-1 diag(beta) V,  W = (I + L)^-1 diag(beta) (K ∘ exp(b)),  L = stril(diag(beta) [KK])
//   Z = scale ((Q ∘ exp(b)) S + tril([QK]) u);   S' = diag(exp(b_C)) S + (K ∘ exp(b_C - b))^T u
at::Tensor kda_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor right = at::cat({c.beta * c.v, c.beta * (c.k * c.from_start())}, -1);
  at::Tensor both = solve_unit_lower(c.beta * c.scores(c.k), right);
  const int64_t V = c.v.size(3);
  DeltaBorder border = pass_delta_states(c.whole(), both.slice(3, 0, V), both.slice(3, V), c.k * c.to_end(),
                                         c.state(state.S), read_out);
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  return c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), border.values)) * c.scale;
}

}  // namespace microtome::mixers
