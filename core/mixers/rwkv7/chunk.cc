#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/rwkv7/forms.h"

namespace microtome::mixers {

// Chunk with the state S before it; c_t is the sum of g from the chunk's start, by channel i. The answer w_t = S_{t-1}^T
// a_t is written by b_t, so it plays the part of a second value. With [XY][t,s] = sum_i x_ti y_si exp(c_ti - c_si) and
// [XY]_- the same with c_{t-1} in place of c_t, for s < t:
//
//   w = (I - [AB]_-)^-1 ([AK]_- V + (A ∘ exp(c_-)) S)
//   Z = scale ((Q ∘ exp(c)) S + tril([QK]) V + tril([QB]) w)
//   S' = diag(exp(c_C)) S + (K ∘ exp(c_C - c))^T V + (B ∘ exp(c_C - c))^T w
at::Tensor dplr_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor a = c.part(in.a), b = c.part(in.b);
  at::Tensor right = at::cat({at::matmul(c.scores_before(a, c.k), c.v), c.before_from_start(a)}, -1);
  at::Tensor both = solve_unit_lower(-c.scores_before(a, b), right);
  const int64_t V = c.v.size(3);
  at::Tensor from_values = both.slice(3, 0, V), from_state = both.slice(3, V);
  at::Tensor writes = at::matmul((c.k * c.to_end()).transpose(2, 3), c.v), b_end = b * c.to_end(), whole = c.whole();
  std::vector<at::Tensor> starts, answers;
  at::Tensor s = c.state(state.S);
  for (int64_t i = 0; i < c.n; ++i) {
    at::Tensor w = at::baddbmm(from_values.select(1, i), from_state.select(1, i), s);
    if (read_out) {
      starts.push_back(s);
      answers.push_back(w);
    }
    s = at::baddbmm(s * whole.select(1, i) + writes.select(1, i), b_end.select(1, i).transpose(1, 2), w);
  }
  state.S = c.unstate(s);
  if (!read_out) return {};
  at::Tensor z = at::matmul(c.q_from_start(), at::stack(starts, 1)) + at::matmul(c.scores(c.q), c.v) +
                 at::matmul(c.scores(c.q, b), at::stack(answers, 1));
  return c.join(z) * c.scale;
}

}  // namespace microtome::mixers
