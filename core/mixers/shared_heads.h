// shared_heads.h — a norm and a projection of an input that is the same for every head (an expanded tensor: stride 0 over the
// head axis), differentiated head by head. What circuit discovery asks of every head's q, k and v input would otherwise
// compute the same norm and product once a head; so the forward costs what the whole layer's does, and only the derivative is
// by head.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// [batch, pos, head, width] with stride 0 over more than one head.
bool same_for_heads(const at::Tensor& x);

// x [batch, pos, head, d], the same for every head; weight [head, width, d] → [batch, pos, head, width]. The derivative in
// x is each head's own; none in the weight, which must not ask for one.
at::Tensor project_shared(const at::Tensor& x, const at::Tensor& weight);

// (x - mean) / sqrt(var + eps) * gain + bias over the last axis (centred), or without the mean; gain and bias [d] or undefined.
// The result is expanded again.
at::Tensor norm_shared(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, double eps, bool centred);

}  // namespace microtome::mixers
