#include "analysis/states/transition.h"

#include <ATen/ATen.h>

#include <limits>
#include <tuple>
#include <vector>

namespace microtome::analyses::states {
namespace {

constexpr double kTiny = 1e-30;
constexpr int64_t kMatricesAtOnce = 32;
const double kNaN = std::numeric_limits<double>::quiet_NaN();

// LAPACK refuses what is not finite: such matrices are left out and their eigenvalues are NaN.
at::Tensor finite_only(const at::Tensor& matrices, at::Tensor& fine) {
  fine = at::isfinite(matrices).all(-1).all(-1).unsqueeze(-1);
  return at::where(fine.unsqueeze(-1), matrices, at::zeros_like(matrices));
}

void append_sorted(const at::Tensor& products, std::vector<at::Tensor>& re, std::vector<at::Tensor>& im) {
  at::Tensor fine, values = at::linalg_eigvals(finite_only(products, fine));
  // Stable, so that the two of a conjugate pair stay as they came: the positive imaginary part first.
  at::Tensor order = at::argsort(values.abs(), /*stable=*/true, -1, /*descending=*/true);
  auto put = [&](const at::Tensor& part, std::vector<at::Tensor>& to) {
    at::Tensor sorted = part.contiguous().gather(-1, order);
    to.push_back(at::where(fine, sorted, at::full_like(sorted, kNaN)));
  };
  put(at::real(values), re);
  put(at::imag(values), im);
}

}  // namespace

Eigenvalues transition_eigenvalues(const Transition& t, Progress& progress) {
  auto options = at::TensorOptions().dtype(at::kDouble);
  bool delta = t.beta.defined() && t.k.defined();
  at::Tensor decay = t.decay.defined() ? t.decay.exp() : at::ones({t.pos, 1}, options);
  bool by_channel = decay.size(1) > 1;
  at::Tensor full = decay.expand({t.pos, t.d_k});

  Eigenvalues out;
  if (t.k.defined()) {
    at::Tensor k2 = t.k.square(), length = k2.sum(-1);
    at::Tensor along = at::where(length > kTiny, (full * k2).sum(-1) / length.clamp_min(kTiny), full.mean(-1));
    out.along_k = delta ? along * (1 - t.beta * length) : along;
  } else {
    out.along_k = at::full({t.pos}, kNaN, options);
  }
  out.rest = by_channel ? full.contiguous() : decay.squeeze(-1).contiguous();
  if (!delta) {
    at::Tensor log = t.decay.defined() ? t.decay : at::zeros({t.pos, 1}, options);
    out.product_re = log.cumsum(0).exp().expand({t.pos, t.d_k}).contiguous();
    out.product_im = at::zeros_like(out.product_re);
    return out;
  }

  at::Tensor one = at::eye(t.d_k, options), product = one;
  std::vector<at::Tensor> re, im, own;
  for (int64_t from = 0; from < t.pos; from += kMatricesAtOnce) {
    progress.check();
    int64_t count = std::min(kMatricesAtOnce, t.pos - from);
    at::Tensor k = t.k.narrow(0, from, count), d = full.narrow(0, from, count);
    at::Tensor erase = one - t.beta.narrow(0, from, count).view({-1, 1, 1}) * k.unsqueeze(-1) * k.unsqueeze(-2);
    if (by_channel) {
      // (I - β k kᵀ) D has the eigenvalues of the symmetric D^½ (I - β k kᵀ) D^½.
      at::Tensor root = d.sqrt(), fine;
      at::Tensor values = at::linalg_eigvalsh(finite_only(root.unsqueeze(-1) * erase * root.unsqueeze(-2), fine));
      own.push_back(at::where(fine, values, at::full_like(values, kNaN)));
    }
    at::Tensor step = erase * d.unsqueeze(-2);
    std::vector<at::Tensor> products;
    for (int64_t i = 0; i < count; ++i) {
      product = at::matmul(step[i], product);
      products.push_back(product);
    }
    append_sorted(at::stack(products), re, im);
  }
  if (by_channel) out.rest = at::cat(own);
  out.product_re = at::cat(re);
  out.product_im = at::cat(im);
  return out;
}

}  // namespace microtome::analyses::states
