// forms.h — TTT-linear over a span of tokens, see README.md. All tensors [batch, head, pos, d], float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/hooks/hook_scope.h"

namespace microtome::mixers {

struct TttInput {
  at::Tensor q, k, v;        // q already scaled
  at::Tensor eta;            // [batch, head, pos, 1]: the step at a token
  at::Tensor w, b;           // of the layer norm, [head, 1, d]
  int64_t mini_batch = 16;
  double eps = 1e-6;
};

// W [batch, head, d, d] and bias [batch, head, 1, d] as the last whole mini-batch left them; k and u of the tokens of the
// mini-batch that has begun, [batch, head, 0 … mini_batch - 1, d].
struct TttState {
  at::Tensor W, bias, k, u;
};

struct TttResult {
  at::Tensor z;              // q_t W_t + bias_t
  at::Tensor u;              // what each token writes: minus the gradient
};

// Token by token; hooks (may be null) is asked for hook_state. Differentiable. state is read and replaced.
TttResult ttt_naive(const TttInput& in, TttState& state, HookScope* hooks);
// A mini-batch at a time, its states never made.
TttResult ttt_chunk(const TttInput& in, TttState& state);

}  // namespace microtome::mixers
