#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/linear_attn/forms.h"

namespace microtome::mixers {

// Chunk c with the state S before it:  z = scale (Q S + tril(Q K^T) V),  S' = S + K^T V.
// The normaliser is one more value column, of ones, so it is carried and read with the state.
at::Tensor linear_attn_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  const bool normalized = state.z.defined();
  RecurrenceInput with = in;
  at::Tensor S = state.S;
  if (normalized) {
    with.v = at::cat({in.v, at::ones({in.v.size(0), in.v.size(1), in.v.size(2), 1}, in.v.options())}, -1);
    S = at::cat({S, state.z.unsqueeze(-1)}, -1);
  }
  Chunks c(with);
  Border border = pass_states(at::Tensor(), at::matmul(c.k.transpose(2, 3), c.v), c.state(S));
  S = c.unstate(border.last);
  const int64_t V = in.v.size(3);
  state.S = normalized ? S.slice(3, 0, V) : S;
  if (normalized) state.z = S.select(3, V);
  if (!read_out) return {};
  at::Tensor z = c.join(at::matmul(c.q, border.starts) + at::matmul(c.scores(c.q), c.v)) * c.scale;
  return normalized ? z.slice(3, 0, V) / (z.slice(3, V) + kNormalizerEps) : z;
}

}  // namespace microtome::mixers
