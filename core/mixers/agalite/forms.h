// forms.h — AGaLiTe over a span of tokens, see README.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/hooks/hook_scope.h"

namespace microtome::mixers {

struct AgaliteInput {
  at::Tensor q, k;           // after their maps [batch, pos, head, features]
  at::Tensor v;              // [batch, pos, head, d]
  at::Tensor gamma, beta;    // gates, as k and as v, in (0, 1)
  at::Tensor wave;           // cos(w_i tau_t) [pos, r]
};

// The r factors of keys [batch, r, head, features] and values [batch, r, head, d], and the normaliser [batch, head,
// features].
struct AgaliteState {
  at::Tensor K, V, s;
};

struct AgaliteResult {
  at::Tensor o;              // [batch, pos, head, d]
  at::Tensor K, V, s;        // of every token, with an axis pos behind batch
};

// Token by token; hooks (may be null) is asked for hook_state, the factors of the values. Differentiable. state is read
// and replaced.
AgaliteResult agalite_naive(const AgaliteInput& in, AgaliteState& state, HookScope* hooks);
// The three recurrences as scans in chunks (vector_recurrence.h).
AgaliteResult agalite_chunk(const AgaliteInput& in, AgaliteState& state);
// What o_t takes of v_s, the mean over the channels of v (each has its own gate): [batch, head, pos, pos].
at::Tensor agalite_pattern(const AgaliteInput& in, const AgaliteResult& result);
// relu(x) times relu(p), every pair of them: [..., d], [..., eta] → [..., eta * d]; p's index first.
at::Tensor agalite_map(const at::Tensor& x, const at::Tensor& p);
// cos(w_i tau), w = r numbers from -pi to pi, tau from first_tau on: [count, r].
at::Tensor agalite_wave(double first_tau, int64_t count, int64_t r, const at::Tensor& like);

}  // namespace microtome::mixers
