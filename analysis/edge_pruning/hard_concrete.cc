#include "analysis/edge_pruning/hard_concrete.h"

#include <ATen/ATen.h>

#include <cmath>

namespace microtome::analyses {

at::Tensor sample_gates(const at::Tensor& log_alpha, const at::Tensor& uniform) {
  at::Tensor s = ((uniform.log() - (1 - uniform).log() + log_alpha) / kGateTemperature).sigmoid();
  return (s * (kGateHigh - kGateLow) + kGateLow).clamp(0, 1);
}

at::Tensor gate_open(const at::Tensor& log_alpha) {
  return (log_alpha - kGateTemperature * std::log(-kGateLow / kGateHigh)).sigmoid();
}

void adam_step(at::Tensor& value, const at::Tensor& gradient, at::Tensor& first, at::Tensor& second, int64_t step, double lr) {
  first = 0.9 * first + 0.1 * gradient;
  second = 0.999 * second + 0.001 * gradient.square();
  const double n = static_cast<double>(step);
  value = value - lr * (first / (1 - std::pow(0.9, n))) / ((second / (1 - std::pow(0.999, n))).sqrt() + 1e-8);
}

}  // namespace microtome::analyses
