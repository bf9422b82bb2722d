// forms.h — mLSTM's matrix memory over a span of tokens, see README.md.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// All in one type, float32 or float64.
struct MlstmInput {
  at::Tensor q, k;           // [batch, pos, head, d_k]
  at::Tensor v;              // [batch, pos, head, d_v]
  at::Tensor i;              // [batch, pos, head]: log of the write strength
  at::Tensor g;              // [batch, pos, head]: log decay
  double scale = 1;
  double eps = 1e-6;         // added to what the read-out is divided by

  int64_t positions() const { return q.size(1); }
  MlstmInput slice(int64_t from, int64_t to) const;
};

// Scaled by exp(-max): C, the sum of k v^T with their weights [batch, head, d_k, d_v], n, that of k alone [batch, head, d_k];
// max [batch, head].
struct MlstmState {
  at::Tensor C, n, max;
  static MlstmState empty(const MlstmInput& in);        // all zero, max too: what is read is never scaled up
};

// Runs a span: state is read and replaced; returns z [batch, pos, head, d_v]. Differentiable.
at::Tensor mlstm_naive(const MlstmInput& in, MlstmState& state);
at::Tensor mlstm_chunk(const MlstmInput& in, MlstmState& state);

// Token t alone, in two halves: the state after it, and its read-out of that state [batch, head, d_v].
struct MlstmWrite {
  MlstmState decayed;        // scaled by the new max
  at::Tensor C, n;           // what the token adds
};
MlstmWrite mlstm_write(const MlstmInput& in, int64_t t, const MlstmState& before);
at::Tensor mlstm_read(const MlstmInput& in, int64_t t, const MlstmState& after);

// z_t = sum_s A[t,s] v_s + share_t over a whole span: A [batch, head, q_pos, k_pos], share (the incoming state's) [batch,
// head, pos, d_v]. Memory is head * pos * pos.
struct MlstmPattern {
  at::Tensor a, share;
};
MlstmPattern mlstm_pattern(const MlstmInput& in, const MlstmState& state);

}  // namespace microtome::mixers
