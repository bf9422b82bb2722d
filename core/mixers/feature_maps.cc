#include "core/mixers/feature_maps.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

namespace microtome::mixers {

namespace {

at::Tensor affine(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return at::linear(x, w, b.defined() ? std::optional<at::Tensor>(b) : std::nullopt);
}

}  // namespace

// elu(x) + 1, written without the sum: exp(x) - 1 + 1 would keep no digits of the small keys that a trained model makes.
// The clamp keeps the branch not taken from overflowing in the backward pass.
at::Tensor elu1(const at::Tensor& x) { return at::where(x > 0, x + 1, at::exp(x.clamp_max(0))); }

at::Tensor hadamard_map(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                        const at::Tensor& b2) {
  return affine(x, w1, b1) * affine(x, w2, b2);
}

at::Tensor hedgehog_map(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  at::Tensor y = affine(x, w, b) * 2;
  return at::cat({y, -y}, -1).softmax(-1);
}

at::Tensor t2r_map(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) { return at::relu(affine(x, w, b)); }

at::Tensor dpfp_map(const at::Tensor& x, int64_t nu) {
  at::Tensor both = at::cat({at::relu(x), at::relu(-x)}, -1);
  std::vector<at::Tensor> parts;
  for (int64_t j = 1; j <= nu; ++j) parts.push_back(both * both.roll(j, -1));
  return at::cat(parts, -1);
}

at::Tensor taylor_map(const at::Tensor& x) {
  const int64_t d = x.size(-1);
  at::Tensor pairs = at::triu_indices(d, d, 1, x.options().dtype(at::kLong));
  at::Tensor i = pairs.select(0, 0), j = pairs.select(0, 1);
  const double root = std::sqrt(static_cast<double>(d));
  at::Tensor cross = x.index_select(-1, i) * x.index_select(-1, j) / root;
  at::Tensor squares = x.square() / (std::sqrt(2.0) * root);
  return at::cat({at::ones_like(x.slice(-1, 0, 1)), x / std::sqrt(root), squares, cross}, -1);
}

}  // namespace microtome::mixers
