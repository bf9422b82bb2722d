// forms.h — the self-referential weight matrix over a span of tokens, see README.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/hooks/hook_scope.h"

namespace microtome::mixers {

// The matrix in its four parts, input dimension first: y, q, k [batch, head, d, d], b [batch, head, d, 4].
struct SrwmState {
  at::Tensor y, q, k, b;
};

struct SrwmResult {
  at::Tensor o;                  // [batch, head, pos, d]
  at::Tensor k, u;               // the key that each token writes with (after softmax) and what it writes to y: as o
  std::vector<at::Tensor> y;     // the y part after each token
};

// x [batch, head, pos, d]. hooks (may be null) is asked for hook_state, the y part. Differentiable. state is read and
// replaced.
SrwmResult srwm_naive(const at::Tensor& x, SrwmState& state, HookScope* hooks);

}  // namespace microtome::mixers
