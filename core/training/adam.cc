#include "core/training/adam.h"

#include <ATen/ATen.h>

#include "core/training/gpu_call.h"
#include "kernels/adam/adam.h"

namespace microtome {
namespace {

kernels::AdamRowsCuda rows_kernel() {
  static const auto f = kernel_of<kernels::AdamRowsCuda>(kernels::kAdamRowsCudaSymbol);
  return f;
}
kernels::AdamArraysCuda arrays_kernel() {
  static const auto f = kernel_of<kernels::AdamArraysCuda>(kernels::kAdamArraysCudaSymbol);
  return f;
}
kernels::GradientNormCuda norm_kernel() {
  static const auto f = kernel_of<kernels::GradientNormCuda>(kernels::kGradientNormCudaSymbol);
  return f;
}

bool aligned(const at::Tensor& t) { return !t.defined() || reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0; }

// A matrix of rows that the kernel takes as such; the last axis is the row.
bool by_rows(const AdamParameter& p) {
  return p.value.dim() >= 2 && p.value.size(-1) % 4 == 0 && aligned(p.value) && aligned(p.first) && aligned(p.second) && aligned(p.gradient) && aligned(p.copy);
}

float* floats(const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; }

kernels::AdamRows::Matrix matrix_of(const AdamParameter& p) {
  kernels::AdamRows::Matrix m;
  m.value = floats(p.value);
  m.first = floats(p.first);
  m.second = floats(p.second);
  m.gradient = floats(p.gradient);
  m.width = p.value.size(-1);
  m.unit = p.unit;
  m.copy = p.copy.defined() ? p.copy.mutable_data_ptr() : nullptr;
  m.norms = floats(p.norms);
  return m;
}

void unit_rows(const at::Tensor& t) { t.div_(t.norm(2, 1, true).clamp_min(1e-12)); }

// [2]: the norm, and what gradients are to be multiplied by.
at::Tensor norm_and_scale(const std::vector<AdamParameter>& parameters, double clip) {
  kernels::GradientNorm n;
  n.clip = clip;
  const at::Tensor& like = parameters.front().value;
  at::Tensor out = at::empty({2}, like.options()), parts = at::empty({kernels::GradientNorm::kParts}, like.options().dtype(at::kDouble));
  bool all = true;
  for (const AdamParameter& p : parameters) {
    if (p.counted) continue;
    if (n.arrays == kernels::GradientNorm::kMost) {
      all = false;
      break;
    }
    const at::Tensor& t = p.squares.defined() ? p.squares : p.gradient;
    n.numbers[n.arrays] = t.const_data_ptr<float>();
    n.sizes[n.arrays] = t.numel();
    n.squares[n.arrays++] = p.squares.defined();
  }
  n.parts = parts.mutable_data_ptr<double>();
  n.out = out.mutable_data_ptr<float>();
  if (all && did(norm_kernel()(n, like.device().index(), nullptr), "the norm of a gradient")) return out;
  std::vector<at::Tensor> squares;
  for (const AdamParameter& p : parameters)
    if (!p.counted) squares.push_back(p.squares.defined() ? p.squares.sum() : p.gradient.square().sum());
  at::Tensor norm = at::stack(squares).sum().sqrt();
  return at::stack({norm, clip > 0 ? (clip / (norm + 1e-6)).clamp_max(1.0) : at::ones_like(norm)});
}

}  // namespace

bool has_adam_kernels(const at::Tensor& like) { return on_default_stream(like) && rows_kernel() && arrays_kernel() && norm_kernel(); }

at::Tensor adam_step(std::vector<AdamParameter>& parameters, const AdamOptions& o) {
  if (!has_adam_kernels(parameters.front().value)) {
    std::vector<at::Tensor> gradients, values, first, second, counts, squares;
    for (const AdamParameter& p : parameters) {
      gradients.push_back(p.gradient);
      values.push_back(p.value);
      first.push_back(p.first);
      second.push_back(p.second);
      counts.push_back(at::full({}, static_cast<double>(o.step), p.value.options()));
      squares.push_back(p.gradient.norm());
    }
    at::Tensor norm = at::stack(squares).norm();
    if (o.clip > 0) {
      at::Tensor scale = (o.clip / (norm + 1e-6)).clamp_max(1.0);
      for (at::Tensor& g : gradients) g.mul_(scale);
    }
    at::_fused_adam_(values, gradients, first, second, {}, counts, o.rate, o.beta1, o.beta2, 0.0, o.eps, false, false);
    for (const AdamParameter& p : parameters)
      if (p.unit) unit_rows(p.value);
    return norm;
  }
  at::Tensor found = norm_and_scale(parameters, o.clip);
  kernels::AdamSettings s;
  s.rate = o.rate;
  s.beta1 = o.beta1;
  s.beta2 = o.beta2;
  s.eps = o.eps;
  s.step = o.step;
  const float* scale = found.const_data_ptr<float>() + 1;
  const int device = found.device().index();
  kernels::AdamArrays arrays;
  arrays.scale = scale;
  arrays.settings = s;
  auto flush = [&] {
    if (!did(arrays_kernel()(arrays, device, nullptr), "a step of Adam")) throw Error(StatusCode::kInternal, "arrays that Adam does not cover", "training");
    arrays.arrays = 0;
  };
  for (const AdamParameter& p : parameters) {
    if (by_rows(p)) {
      kernels::AdamRows a;
      a.matrices = 1;
      a.matrix[0] = matrix_of(p);
      a.rows = p.value.numel() / p.value.size(-1);
      a.touched = p.touched.defined() ? p.touched.const_data_ptr<uint8_t>() : nullptr;
      a.scale = scale;
      a.settings = s;
      if (!did(rows_kernel()(a, device, nullptr), "a step of Adam")) throw Error(StatusCode::kInternal, "a matrix that Adam does not cover", "training");
      continue;
    }
    if (p.touched.defined() || p.copy.defined() || p.norms.defined()) throw Error(StatusCode::kInternal, "a matrix that Adam does not take by rows", "training");
    arrays.array[arrays.arrays++] = {floats(p.value), floats(p.first), floats(p.second), floats(p.gradient), p.value.numel()};
    if (arrays.arrays == kernels::AdamArrays::kMost) flush();
  }
  flush();
  for (const AdamParameter& p : parameters)
    if (p.unit && !by_rows(p)) unit_rows(p.value);
  return found.select(0, 0);
}

void adam_refresh(const AdamParameter& p) {
  kernels::AdamRows a;
  a.matrices = 1;
  a.matrix[0] = matrix_of(p);
  a.rows = p.value.numel() / p.value.size(-1);
  a.update = false;
  if (!did(rows_kernel()(a, p.value.device().index(), nullptr), "a copy of weights")) throw Error(StatusCode::kInternal, "a matrix that Adam does not cover", "training");
}

}  // namespace microtome
