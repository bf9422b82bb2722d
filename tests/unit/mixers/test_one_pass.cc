// What a GPU has as one kernel, against float64 on the CPU: the short convolution with its window, norms without a mean. On the
// device that MICROTOME_TEST_DEVICE names.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "core/mixers/projections.h"
#include "core/model/device.h"

namespace microtome::mixers {
namespace {

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}

double gap(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kCPU, at::kDouble) - b).abs().max().item<double>() / (1 + b.abs().max().item<double>());
}

TEST(OnePass, ShortConvolution) {
  const c10::Device where = device();
  at::manual_seed(3);
  at::NoGradGuard no_grad;
  for (int64_t width : {2, 3, 4, 7, 16, 17})
    for (auto [batch, length, channels] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 5}, {2, 3, 130}, {3, 64, 33}, {1, 129, 256}})
      for (bool silu : {false, true})
        for (bool with_window : {false, true}) {
          const at::TensorOptions o = at::TensorOptions().dtype(at::kDouble);
          at::Tensor x = at::randn({batch, length, channels}, o), w = at::randn({channels, 1, width}, o), bias = silu ? at::randn({channels}, o) : at::Tensor();
          at::Tensor window = with_window ? at::randn({batch, width - 1, channels}, o) : at::Tensor();
          auto there = [&](const at::Tensor& t) { return t.defined() ? t.to(where, at::kFloat) : t; };
          at::Tensor mine = there(window), given = mine.defined() ? mine.clone() : mine, kept = mine;
          const at::Tensor y = short_conv(there(x), there(w), there(bias), &mine, silu);
          // The taps written out.
          at::Tensor all = at::cat({with_window ? window : at::zeros({batch, width - 1, channels}, o), x}, 1), want = at::zeros_like(x);
          for (int64_t i = 0; i < width; ++i) want = want + all.slice(1, i, i + length) * w.select(2, i).select(1, 0);
          if (bias.defined()) want = want + bias;
          if (silu) want = want * want.sigmoid();
          EXPECT_LT(gap(y, want), 2e-6) << width << " taps, " << length << " tokens";
          EXPECT_LT(gap(mine, all.slice(1, length)), 1e-6);
          if (given.defined()) { EXPECT_TRUE(kept.equal(given)) << "the incoming window is somebody else's"; }
        }
}

TEST(OnePass, ShortConvolutionKeepsNotANumberInItsChannel) {
  at::NoGradGuard no_grad;
  at::Tensor x = at::ones({1, 9, 4}, at::TensorOptions().device(device()));
  x[0][3][2] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor y = short_conv(x, at::ones({4, 1, 3}, x.options()), {}, nullptr, true).cpu();
  for (int64_t t = 0; t < 9; ++t)
    for (int64_t c = 0; c < 4; ++c) EXPECT_EQ(std::isnan(y[0][t][c].item<float>()), c == 2 && t >= 3 && t < 6) << t << ", " << c;
}

TEST(OnePass, Norms) {
  const c10::Device where = device();
  at::manual_seed(4);
  at::NoGradGuard no_grad;
  for (int64_t width : {1, 7, 64, 130}) {
    at::Tensor x = at::randn({2, 5, 3, width}, at::kDouble) * 3, gain = at::randn({width}, at::kDouble), each = at::randn({3, width}, at::kDouble);
    x[1][2].fill_(0);
    const at::Tensor here = x.to(where, at::kFloat);
    at::Tensor hat = x / (x.square().mean(-1, true) + 1e-5).sqrt();
    EXPECT_LT(gap(rms_norm(here, {}, 1e-5), hat), 2e-6);
    EXPECT_LT(gap(rms_norm(here, gain.to(where, at::kFloat), 1e-5), hat * gain), 2e-6);
    EXPECT_LT(gap(rms_norm(here, each.to(where, at::kFloat), 1e-5), hat * each), 2e-6);
    EXPECT_LT(gap(l2_norm(here), x / (x.square().sum(-1, true) + 1e-6).sqrt()), 2e-6);
  }
}

}  // namespace
}  // namespace microtome::mixers
