// feature_maps.h — maps phi with phi(q) . phi(k) in place of exp(q . k). All act on the last axis.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// elu(x) + 1 (arXiv 2006.16236): d features.
at::Tensor elu1(const at::Tensor& x);
// (W1 x + b1) ∘ (W2 x + b2): fla's "elementwise_product"; biases may be undefined.
at::Tensor hadamard_map(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                        const at::Tensor& b2);
// softmax([y, -y]) with y = 2 (W x + b) (arXiv 2402.04347): 2 d features.
at::Tensor hedgehog_map(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);
// relu(W x + b) (arXiv 2103.13076); b may be undefined.
at::Tensor t2r_map(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);
// x' = [relu(x), relu(-x)]; x' ∘ roll(x', j) for j = 1 … nu (arXiv 2102.11174): 2 d nu features.
at::Tensor dpfp_map(const at::Tensor& x, int64_t nu = 4);
// [1, x / d^(1/4), x_i^2 / sqrt(2 d), x_i x_j / sqrt(d) for i < j], so that phi(q) . phi(k) = 1 + s + s^2/2 with
// s = q . k / sqrt(d) (arXiv 2402.18668): 1 + d + d (d+1) / 2 features.
at::Tensor taylor_map(const at::Tensor& x);

}  // namespace microtome::mixers
