// forms.h — the selective scan over a span of tokens, see README.md. Every channel is a head with a state of d_state × 1.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// All in one type, float32 or float64.
struct Mamba1Input {
  at::Tensor q, k;           // C, B [batch, pos, 1 or channel, d_state]
  at::Tensor v, dt;          // x and the step size [batch, pos, channel]
  at::Tensor A;              // [channel, d_state], negative
  at::Tensor D;              // the skip [channel]; undefined: none
  at::Tensor g;              // log decay [batch, pos, channel, d_state]; undefined: dt A, never made for all tokens at once

  int64_t positions() const { return v.size(1); }
  Mamba1Input slice(int64_t from, int64_t to) const;
  // Of tokens from … to - 1: exp of the log decay, and what each adds to the state, dt B x.
  at::Tensor decay(int64_t from, int64_t to) const;     // [batch, to - from, channel, d_state]
  at::Tensor write(int64_t from, int64_t to) const;
};

// Runs a span: state [batch, channel, d_state] is read and replaced; returns z [batch, pos, channel], the skip included.
// Differentiable.
at::Tensor mamba1_naive(const Mamba1Input& in, at::Tensor& state);
at::Tensor mamba1_chunk(const Mamba1Input& in, at::Tensor& state);

// Token t's read-out of the state after it: [batch, channel].
at::Tensor mamba1_read(const Mamba1Input& in, int64_t t, const at::Tensor& state);

// A [batch, channel, q_pos, k_pos] with z_t = sum_s A[t,s] x_s from a zero state, D on the diagonal. Memory is channel *
// pos * pos, a few times.
at::Tensor mamba1_pattern(const Mamba1Input& in);

}  // namespace microtome::mixers
