#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/rwkv6/forms.h"

namespace microtome::mixers {

// Chunk with the state S before it, b the sum of g from the chunk's start, by channel i:
//
//   z_t = scale ((q_t ∘ exp(b_{t-1})) S + sum_{s<t} (sum_i q_ti k_si exp(b_{t-1,i} - b_si)) v_s + (sum_i q_ti u_i k_ti) v_t)
//   S'  = diag(exp(b_C)) S + sum_s (k_s ∘ exp(b_C - b_s)) v_s^T
at::Tensor rwkv6_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor writes = at::matmul((c.k * c.to_end()).transpose(2, 3), c.v);
  Border border = pass_states(c.whole(), writes, c.state(state.S));
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  const int64_t H = in.u.size(0), K = in.u.size(1), V = c.v.size(3);
  at::Tensor u = in.u.unsqueeze(0).expand({c.N / H, H, K}).reshape({c.N, 1, 1, 1, K});
  at::Tensor weight = (c.q.view({c.N, c.n, c.G, c.C, K}) * u * c.k.unsqueeze(2)).sum(-1, true);
  at::Tensor own = (weight * c.v.unsqueeze(2)).view({c.N, c.n, c.G * c.C, V});
  at::Tensor z = at::matmul(c.before_from_start(c.q), border.starts) + at::matmul(c.scores_before(c.q, c.k), c.v) + own;
  return c.join(z) * c.scale;
}

}  // namespace microtome::mixers
