// frozen_linear.h — a linear map whose weights are not trained.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// at::linear(x, weight, bias), bias undefined: none. Where x is differentiated and the weights are not, one node of the graph and one
// product on the way back, in place of four of each kind: what starting them costs is most of a small model's gradient.
at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace microtome::mixers
