// forms.h — RWKV-4's running weighted means over a span of tokens, see README.md. Every channel is a head.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// All in one type, float32 or float64.
struct Rwkv4Input {
  at::Tensor k, v;           // [batch, pos, channel]
  at::Tensor g;              // log decay [batch, pos, channel]; token t's acts on what came before it
  at::Tensor u;              // [channel]: added to the token's own key

  int64_t positions() const { return k.size(1); }
  Rwkv4Input slice(int64_t from, int64_t to) const;
};

// Sums scaled by exp(-max): num = sum of e^k v, den = sum of e^k. [batch, channel] each.
struct Rwkv4State {
  at::Tensor num, den, max;
  static Rwkv4State empty(int64_t batch, const at::Tensor& like);   // nothing seen: 0, 0, and a max below all keys
};

// Runs a span: state is read and replaced; returns z [batch, pos, channel]. Differentiable.
at::Tensor rwkv4_naive(const Rwkv4Input& in, Rwkv4State& state);
at::Tensor rwkv4_chunk(const Rwkv4Input& in, Rwkv4State& state);

// Token t alone, in two halves: its read-out, and the state after it.
at::Tensor rwkv4_read(const Rwkv4Input& in, int64_t t, const Rwkv4State& before);
struct Rwkv4Write {
  Rwkv4State decayed;        // scaled by the new max
  at::Tensor num, den;       // what the token adds
};
Rwkv4Write rwkv4_write(const Rwkv4Input& in, int64_t t, const Rwkv4State& before);

// z_t = sum_s A[t,s] v_s + share_t over a whole span: A [batch, channel, q_pos, k_pos], share (the incoming state's)
// [batch, pos, channel]. Memory is channel * pos * pos.
struct Rwkv4Pattern {
  at::Tensor a, share;
};
Rwkv4Pattern rwkv4_pattern(const Rwkv4Input& in, const Rwkv4State& state);

}  // namespace microtome::mixers
