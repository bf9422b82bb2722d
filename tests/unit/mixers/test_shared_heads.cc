// Norm and projection shared by heads: value and each head's own derivative against the plain operations on heads that are
// tensors of their own, in the layouts that autograd hands over.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/mixers/shared_heads.h"

namespace microtome::mixers {
namespace {

struct Case {
  bool centred, gain;
  at::ScalarType dtype;
  int64_t width;
};

class SharedHeads : public ::testing::TestWithParam<Case> {};

TEST_P(SharedHeads, AreEachHeadsOwn) {
  const Case c = GetParam();
  at::manual_seed(3);
  const at::TensorOptions options = at::TensorOptions().dtype(c.dtype);
  const int64_t batch = 2, pos = 5, heads = 3, d = c.width, width = 4;
  at::Tensor x = at::randn({batch, pos, d}, options) + 0.5, weight = at::randn({heads, width, d}, options);
  at::Tensor gain = c.gain ? at::randn({d}, options) : at::Tensor(), bias = c.gain ? at::randn({d}, options) : at::Tensor();
  at::Tensor u = at::randn({batch, pos, heads, width}, options), direct = at::randn({batch, pos, heads, d}, options);
  // The derivative of both: of a projection (heads first in memory) and of the norm's own result (heads behind positions).
  auto slopes = [&](const at::Tensor& stream, const auto& norm, const auto& project) {
    at::Tensor given = stream.detach().requires_grad_(true);
    at::Tensor normed = norm(given), y = project(normed);
    at::Tensor a = torch::autograd::grad({(y * u).sum()}, {given}, {}, true)[0], b = torch::autograd::grad({(normed * direct).sum()}, {given})[0];
    return std::vector<at::Tensor>{normed.detach(), y.detach(), a, b};
  };
  // Through `expand` a derivative of the view itself is asked for, as of a captured input.
  at::Tensor one = x.unsqueeze(2).expand({batch, pos, heads, d});
  auto shared = slopes(one, [&](const at::Tensor& t) { return norm_shared(t, gain, bias, 1e-5, c.centred); },
                       [&](const at::Tensor& t) { return project_shared(t, weight); });
  auto plain = slopes(one.contiguous(), [&](const at::Tensor& t) {
    at::Tensor v = c.centred ? t - t.mean(-1, true) : t;
    v = v * (v.square().mean(-1, true) + 1e-5).rsqrt();
    return c.gain ? v * gain + bias : v;
  }, [&](const at::Tensor& t) { return at::einsum("bthd,hwd->bthw", {t, weight}); });
  const double tolerance = c.dtype == at::kDouble ? 1e-12 : 3e-5;
  for (size_t i = 0; i < shared.size(); ++i)
    EXPECT_LT((shared[i] - plain[i]).abs().max().item<double>(), tolerance * (1 + plain[i].abs().max().item<double>())) << i;
}
INSTANTIATE_TEST_SUITE_P(Norms, SharedHeads,
                         ::testing::Values(Case{true, true, at::kFloat, 40}, Case{true, false, at::kFloat, 7}, Case{false, true, at::kFloat, 64},
                                           Case{false, false, at::kFloat, 33}, Case{true, true, at::kDouble, 40}, Case{false, true, at::kDouble, 7}));

}  // namespace
}  // namespace microtome::mixers
