// hard_concrete.h — gates between 0 and 1 that can be exactly 0 or 1 and have a gradient (Louizos et al., arXiv 1712.01312),
// as edge pruning (arXiv 2406.16778) puts them on edges.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::analyses {

constexpr double kGateTemperature = 2.0 / 3, kGateLow = -0.1, kGateHigh = 1.1;

// uniform: drawn from (0, 1), one a gate. Both [gate]; differentiable in log_alpha.
at::Tensor sample_gates(const at::Tensor& log_alpha, const at::Tensor& uniform);
// The probability that a gate is not 0.
at::Tensor gate_open(const at::Tensor& log_alpha);

// Adam (arXiv 1412.6980), beta 0.9 and 0.999, one step down the gradient; moments are replaced.
void adam_step(at::Tensor& value, const at::Tensor& gradient, at::Tensor& first, at::Tensor& second, int64_t step, double lr);

}  // namespace microtome::analyses
