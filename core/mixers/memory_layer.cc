#include "core/mixers/memory_layer.h"
#include "core/mixers/hooked_run.h"

#include <ATen/ATen.h>

namespace microtome::mixers {

at::Tensor standardized(const at::Tensor& x, double eps, at::Tensor* std) {
  at::Tensor centred = x - x.mean(-1, true), spread = (centred.square().mean(-1, true) + eps).sqrt();
  if (std) *std = spread;
  return centred / spread;
}

at::Tensor norm_residual(const at::Tensor& z, const at::Tensor& w, const at::Tensor& b, double eps) {
  return z + w * standardized(z, eps) + b;
}

at::Tensor answer_gradient(const at::Tensor& answer, const at::Tensor& target, const at::Tensor& w, const at::Tensor& b,
                           double eps, bool exact) {
  const double d = static_cast<double>(answer.size(-1));
  at::Tensor std, x = standardized(answer, eps, &std), g = w * (w * x + b - target);
  at::Tensor rest = (g.sum(-1, true) + x * (g * x).sum(-1, true)) / (std * d);
  return exact ? g / std - rest : d * g - rest;
}

at::Tensor apply_pattern(HookScope& hooks, const at::Tensor& A, const at::Tensor& u, const at::Tensor& z) {
  at::Tensor changed = changed_pattern(hooks, A);
  return changed.defined() ? z + at::matmul(changed - A, u) : z;
}

}  // namespace microtome::mixers
