// memory_layer.h — what mixers share whose state is a small network trained on the tokens it reads (TTT, Titans): the
// error of the memory's layer-normed answer, and the pattern over what is written.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/hooks/hook_scope.h"

namespace microtome::mixers {

// (x - mean) / std over the last axis, std = sqrt(var + eps); std is kept where a place for it is given.
at::Tensor standardized(const at::Tensor& x, double eps, at::Tensor* std = nullptr);
// z + LN(z) over the last axis; w, b [head, 1, d], z [batch, head, pos, d].
at::Tensor norm_residual(const at::Tensor& z, const at::Tensor& w, const at::Tensor& b, double eps);
// The derivative of |LN(answer) - target|^2 / 2 with respect to the answer. exact false: its first term lacks the division
// by std * d, as flash-linear-attention's Titans has it.
at::Tensor answer_gradient(const at::Tensor& answer, const at::Tensor& target, const at::Tensor& w, const at::Tensor& b,
                           double eps, bool exact);

// Asks hook_pattern about A [batch, head, pos, pos of this run], where z holds A u; earlier tokens, which the state has
// merged, get columns of zeros. A changed A moves z by (A' - A) u. z, u [batch, head, pos, d].
at::Tensor apply_pattern(HookScope& hooks, const at::Tensor& A, const at::Tensor& u, const at::Tensor& z);

}  // namespace microtome::mixers
