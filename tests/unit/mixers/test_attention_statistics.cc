// Numbers of a pattern without the pattern, and the pattern in one pass, against the pattern written out in float64: every mask,
// type, length, head size and grouping, extreme scores, NaN; on the device that MICROTOME_TEST_DEVICE names.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/softmax_attention/statistics.h"
#include "core/model/device.h"

namespace microtome::mixers {
namespace {

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}
bool on_gpu() { return device().is_cuda(); }

struct Mask {
  const char* name;
  AttentionOptions options;
  bool sinks = false;
};

std::vector<Mask> masks() {
  auto with = [](const char* name, auto&& change, bool sinks = false) {
    Mask m{name, {}, sinks};
    change(m.options);
    return m;
  };
  return {with("causal", [](AttentionOptions&) {}),
          with("window", [](AttentionOptions& o) { o.window = 17; }),
          with("window of one", [](AttentionOptions& o) { o.window = 1; }),
          with("both directions", [](AttentionOptions& o) { o.causal = false; }),
          with("window in both directions", [](AttentionOptions& o) { o.causal = false, o.window = 9; }),
          with("softcap", [](AttentionOptions& o) { o.softcap = 2; }),
          with("alibi", [](AttentionOptions& o) { o.alibi = true; }),
          with("sinks", [](AttentionOptions&) {}, true),
          with("everything", [](AttentionOptions& o) { o.alibi = true, o.window = 40, o.softcap = 3; }, true),
          with("scale below 0", [](AttentionOptions& o) { o.scale = -1; })};
}

struct Inputs {
  at::Tensor q, k;
  AttentionOptions options;
  QueryRows rows;
  StatisticsAsked asked;
};

Inputs make(const Mask& mask, int64_t batch, int64_t tokens, int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType type, int64_t past = 0) {
  Inputs in;
  const at::TensorOptions o = at::TensorOptions().dtype(at::kDouble);
  in.q = at::randn({batch, tokens, heads, d}, o).to(type).to(device());
  in.k = at::randn({batch, past + tokens, kv_heads, d}, o).to(type).to(device());
  in.options = mask.options;
  in.options.scale = mask.options.scale / std::sqrt(static_cast<double>(d));
  if (mask.sinks) in.options.sinks = at::randn({heads}, o).to(device());
  in.rows.past = past;
  in.rows.tokens = tokens;
  at::Tensor own = in.rows.own_keys(device());
  in.asked.targets = at::stack({own, own - 1, at::full_like(own, -1), own.div(2, "floor"), own + 1, own - 5}, -1).unsqueeze(0).expand({batch, -1, -1}).to(at::kDouble);
  return in;
}

// The definition, in float64 on the CPU.
struct Judge {
  at::Tensor scores, pattern;
};
Judge judge(const Inputs& in) {
  AttentionOptions options = in.options;
  if (options.sinks.defined()) options.sinks = options.sinks.to(at::kCPU, at::kDouble);
  Judge j;
  j.scores = attention_scores(in.q.to(at::kCPU, at::kDouble), in.k.to(at::kCPU, at::kDouble), options, in.rows);
  j.pattern = attention_pattern(j.scores, options);
  return j;
}

double gap(const at::Tensor& got, const at::Tensor& want, bool relative = false) {
  at::Tensor g = got.to(at::kCPU, at::kDouble), w = want.to(at::kCPU, at::kDouble);
  EXPECT_EQ(g.sizes(), w.sizes());
  at::Tensor d = (g - w).abs();
  if (relative) d = d / (1 + w.abs());
  return d.isnan().any().item<bool>() ? std::numeric_limits<double>::infinity() : d.max().item<double>();
}

double tolerance(at::ScalarType type) { return type == at::kDouble ? 1e-11 : 4e-5; }

void compare(const Inputs& in, const PatternStatistics& got, double most) {
  const Judge j = judge(in);
  const at::Tensor& p = j.pattern;
  at::Tensor lse = at::logsumexp(j.scores, {-1});
  if (in.options.sinks.defined()) lse = at::logaddexp(lse, in.options.sinks.to(at::kCPU, at::kDouble).view({1, -1, 1}));
  at::Tensor own = in.rows.own_keys(at::kCPU), key = at::arange(p.size(3), at::kLong), first = p.select(3, 0);
  ASSERT_EQ(got.numbers.size(3), std::ssize(kPatternNumbers));
  auto number = [&](int64_t i) { return got.numbers.select(3, i); };
  EXPECT_LT(gap(number(0), lse, true), most) << "lse";
  EXPECT_LT(gap(number(1), p.amax(-1)), most) << "max";
  at::Tensor where = number(2).to(at::kCPU, at::kLong).unsqueeze(-1);
  EXPECT_LT(gap(p.gather(3, where).squeeze(3), p.amax(-1)), most) << "argmax";
  EXPECT_LT(gap(number(3), -at::xlogy(p, p).sum(-1), true), 4 * most) << "entropy";
  EXPECT_LT(gap(number(4), first), most) << "first";
  EXPECT_LT(gap(number(5), (p * (own.unsqueeze(1) - key.unsqueeze(0))).sum(-1), true), 4 * most) << "distance";
  EXPECT_LT(gap(number(6), p.sum(-1)), most) << "mass";
  at::Tensor t = in.asked.targets.to(at::kCPU, at::kLong);
  at::Tensor inside = (t >= 0).logical_and(t < p.size(3)).unsqueeze(1);
  at::Tensor index = t.clamp(0, p.size(3) - 1).unsqueeze(1).expand({p.size(0), p.size(1), t.size(1), t.size(2)});
  EXPECT_LT(gap(got.at, at::where(inside, p.gather(3, index), at::zeros({}, p.options()))), most) << "targets";
}

std::vector<at::ScalarType> types() {
  if (on_gpu()) return {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble};
  return {at::kFloat, at::kDouble, at::kBFloat16};
}

struct Shape {
  int64_t batch, tokens, heads, kv_heads, d, past;
};
class AttentionStatistics : public ::testing::TestWithParam<Shape> {};

TEST_P(AttentionStatistics, AreThoseOfThePattern) {
  at::NoGradGuard no_grad;
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(5);
  const Shape s = GetParam();
  for (at::ScalarType type : types())
    for (const Mask& mask : masks()) {
      if (s.past > 0 && !mask.options.causal) continue;
      SCOPED_TRACE(std::string(mask.name) + " " + c10::toString(type));
      const Inputs in = make(mask, s.batch, s.tokens, s.heads, s.kv_heads, s.d, type, s.past);
      std::string why;
      EXPECT_EQ(statistics_kernel_covers(in.q, in.k, in.options, &why), on_gpu() && type != at::kDouble) << why;
      compare(in, pattern_statistics(in.q, in.k, in.options, in.rows, in.asked), tolerance(type));
      compare(in, pattern_statistics_blocked(in.q, in.k, in.options, in.rows, in.asked, 24), tolerance(type));
      compare(in, statistics_of(attention_pattern(attention_scores(in.q, in.k, in.options, in.rows), in.options),
                                attention_scores(in.q, in.k, in.options, in.rows), in.options, in.rows, in.asked), tolerance(type));
    }
}

TEST_P(AttentionStatistics, ThePatternInOnePass) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(6);
  const Shape s = GetParam();
  for (at::ScalarType type : types())
    for (const Mask& mask : masks()) {
      if (s.past > 0 && !mask.options.causal) continue;
      SCOPED_TRACE(std::string(mask.name) + " " + c10::toString(type));
      const Inputs in = make(mask, s.batch, s.tokens, s.heads, s.kv_heads, s.d, type, s.past);
      const at::Tensor want = judge(in).pattern;
      EXPECT_LT(gap(pattern_only(in.q, in.k, in.options, in.rows, at::kFloat), want), 4e-5);
      for (at::ScalarType out : {at::kBFloat16, at::kHalf}) {
        at::Tensor got = pattern_only(in.q, in.k, in.options, in.rows, out);
        EXPECT_EQ(got.scalar_type(), out);
        EXPECT_LT(gap(got, want), out == at::kHalf ? 6e-4 : 4e-3);
      }
    }
}

TEST_P(AttentionStatistics, AndZWithoutThePattern) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(7);
  const Shape s = GetParam();
  for (at::ScalarType type : {at::kDouble, at::kFloat})
    for (const Mask& mask : masks()) {
      if (s.past > 0 && !mask.options.causal) continue;
      SCOPED_TRACE(std::string(mask.name) + " " + c10::toString(type));
      const Inputs in = make(mask, s.batch, s.tokens, s.heads, s.kv_heads, s.d, type, s.past);
      const at::Tensor v = at::randn(in.k.sizes(), at::kDouble).to(type).to(device());
      const at::Tensor want = attention_mix(judge(in).pattern, v.to(at::kCPU, at::kDouble));
      EXPECT_LT(gap(attention_blocked(in.q, in.k, v, in.options, in.rows), want), type == at::kDouble ? 1e-11 : 1e-4);
      EXPECT_EQ(in.options.fused(), in.options.softcap == 0);
      if (!in.options.fused()) continue;
      EXPECT_LT(gap(attention_fused(in.q, in.k, v, in.options, in.rows), want), type == at::kDouble ? 1e-11 : 1e-4);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionStatistics,
                         ::testing::Values(Shape{2, 1, 4, 4, 64, 0}, Shape{2, 63, 4, 2, 32, 0}, Shape{1, 65, 6, 3, 80, 0}, Shape{2, 130, 2, 1, 128, 0},
                                           Shape{1, 70, 2, 2, 256, 0}, Shape{1, 1000, 2, 1, 64, 0}, Shape{1, 90, 3, 1, 7, 0}, Shape{2, 40, 4, 2, 20, 100},
                                           Shape{1, 1, 4, 2, 64, 300}, Shape{8, 65, 64, 64, 16, 0}));   // the last: enough blocks for the wider form of the kernel

TEST(AttentionStatisticsEdges, ChosenQueriesAndStrides) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(8);
  for (at::ScalarType type : types())
    for (const Mask& mask : masks()) {
      SCOPED_TRACE(std::string(mask.name) + " " + c10::toString(type));
      Inputs in = make(mask, 2, 150, 4, 2, 48, type);
      // A part of a wider tensor that begins at an odd place, heads before positions.
      at::Tensor wide = at::randn({2, 4, 150, 51}, at::kDouble).to(type).to(device());
      in.q = wide.slice(3, 1, 49).transpose(1, 2).index_select(1, at::tensor({3, 4, 70, 149}, at::kLong).to(device()));
      in.q = at::randn({2, 4, 4, 51}, at::kDouble).to(type).to(device()).slice(3, 1, 49).transpose(1, 2);
      in.k = wide.slice(1, 0, 2).slice(3, 2, 50).transpose(1, 2);
      in.rows.read = {3, 4, 70, 149};
      in.asked.targets = in.asked.targets.index_select(1, at::tensor(*in.rows.read, at::kLong).to(device()));
      compare(in, pattern_statistics(in.q, in.k, in.options, in.rows, in.asked), tolerance(type));
      compare(in, pattern_statistics_blocked(in.q, in.k, in.options, in.rows, in.asked, 2), tolerance(type));
      EXPECT_LT(gap(pattern_only(in.q, in.k, in.options, in.rows, at::kFloat), judge(in).pattern), 4e-5);
    }
}

TEST(AttentionStatisticsEdges, DroppedKeysShiftWhatIsCounted) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(9);
  Inputs in = make(masks()[1], 1, 50, 2, 2, 64, at::kFloat, 16);
  PatternStatistics here = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
  StatisticsAsked later{1000, at::where(in.asked.targets >= 0, in.asked.targets + 1000, in.asked.targets)};
  PatternStatistics there = pattern_statistics(in.q, in.k, in.options, in.rows, later);
  EXPECT_EQ(gap(there.at, here.at), 0);
  EXPECT_EQ(gap(there.numbers.select(3, 2), here.numbers.select(3, 2) + 1000), 0);
  EXPECT_EQ(there.numbers.select(3, 4).abs().max().item<double>(), 0) << "position 0 is no key any more";
  for (int64_t i : {0, 1, 3, 5, 6}) EXPECT_LT(gap(there.numbers.select(3, i), here.numbers.select(3, i)), 1e-5) << kPatternNumbers[static_cast<size_t>(i)];
}

TEST(AttentionStatisticsEdges, ScoresOfTenThousand) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(10);
  Inputs in = make(masks()[0], 1, 200, 2, 2, 64, at::kFloat);
  in.q = in.q * 1e4;                                   // scores of ±1e4: rows are nearly one key
  PatternStatistics got = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
  const Judge j = judge(in);
  // A score of 4e4 has an error of 1e-2 in float32.
  EXPECT_LT(gap(got.numbers.select(3, 0), at::logsumexp(j.scores, {-1}), true), 1e-6);
  EXPECT_LT(gap(got.numbers.select(3, 1), j.pattern.amax(-1)), 5e-3);
  EXPECT_LT(gap(got.numbers.select(3, 3), -at::xlogy(j.pattern, j.pattern).sum(-1)), 2e-2);
  EXPECT_LT(gap(got.at.select(3, 0), j.pattern.diagonal(0, 2, 3)), 5e-2);
  EXPECT_LT(gap(pattern_only(in.q, in.k, in.options, in.rows, at::kFloat), j.pattern), 5e-2);
}

TEST(AttentionStatisticsEdges, NaNStaysInItsHead) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(11);
  for (at::ScalarType type : types()) {
    Inputs in = make(masks()[0], 1, 130, 3, 3, 64, type);
    in.k.select(2, 1).select(1, 70).select(1, 5).fill_(std::numeric_limits<double>::quiet_NaN());
    PatternStatistics got = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
    at::Tensor pattern = pattern_only(in.q, in.k, in.options, in.rows, at::kFloat);
    for (int64_t h : {0, 2}) {
      EXPECT_FALSE(got.numbers.select(1, h).isnan().any().item<bool>());
      EXPECT_FALSE(pattern.select(1, h).isnan().any().item<bool>());
    }
    for (int64_t i : {0, 1, 3, 5, 6}) {
      at::Tensor n = got.numbers.select(1, 1).select(2, i).isnan();
      EXPECT_FALSE(n.slice(1, 0, 70).any().item<bool>()) << "queries before the key";
      EXPECT_TRUE(n.slice(1, 70).all().item<bool>()) << kPatternNumbers[static_cast<size_t>(i)];
    }
    EXPECT_FALSE(pattern.select(1, 1).slice(1, 0, 70).isnan().any().item<bool>());
    EXPECT_TRUE(pattern.select(1, 1).slice(1, 70).isnan().all().item<bool>());
  }
}

TEST(AttentionStatisticsEdges, TheSameBitsAgain) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(12);
  for (at::ScalarType type : types()) {
    const Inputs in = make(masks()[8], 2, 300, 4, 2, 64, type);
    PatternStatistics first = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
    at::Tensor pattern = pattern_only(in.q, in.k, in.options, in.rows, at::kFloat);
    for (int i = 0; i < 3; ++i) {
      PatternStatistics again = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
      EXPECT_TRUE(again.numbers.equal(first.numbers));
      EXPECT_TRUE(again.at.equal(first.at));
      EXPECT_TRUE(pattern_only(in.q, in.k, in.options, in.rows, at::kFloat).equal(pattern));
    }
    if (!statistics_kernel_covers(in.q, in.k, in.options)) continue;
    // A row of the batch does not see what else is there.
    Inputs alone = in;
    alone.q = in.q.slice(0, 1, 2);
    alone.k = in.k.slice(0, 1, 2);
    alone.asked.targets = in.asked.targets.slice(0, 1, 2);
    EXPECT_TRUE(pattern_statistics(alone.q, alone.k, alone.options, alone.rows, alone.asked).numbers.equal(first.numbers.slice(0, 1, 2)));
  }
}

TEST(AttentionStatisticsEdges, Tf32WhereItIsAllowed) {
  at::NoGradGuard no_grad;
  if (!on_gpu()) GTEST_SKIP() << "the CPU has no TF32";
  device();
  at::manual_seed(13);
  const Inputs in = make(masks()[0], 1, 500, 4, 4, 64, at::kFloat);
  const bool before = at::globalContext().allowTF32CuBLAS();
  at::globalContext().setAllowTF32CuBLAS(true);
  at::Tensor coarse = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked).numbers;
  at::globalContext().setAllowTF32CuBLAS(false);
  at::Tensor fine = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked).numbers;
  at::globalContext().setAllowTF32CuBLAS(before);
  EXPECT_GT(gap(coarse.select(3, 0), fine.select(3, 0)), 1e-6);
  EXPECT_LT(gap(coarse.select(3, 0), fine.select(3, 0)), 5e-3);
}

TEST(AttentionStatisticsEdges, OtherWeightsHaveNumbersToo) {
  at::NoGradGuard no_grad;
  device();
  at::manual_seed(14);
  for (Weighting w : {Weighting::kSigmoid, Weighting::kClippedSoftmax, Weighting::kSoftplusL1}) {
    Inputs in = make(masks()[0], 1, 60, 2, 2, 16, at::kFloat);
    in.options.weighting = w;
    in.options.clip_gamma = -0.03;
    EXPECT_FALSE(statistics_kernel_covers(in.q, in.k, in.options));
    PatternStatistics got = pattern_statistics(in.q, in.k, in.options, in.rows, in.asked);
    const at::Tensor p = judge(in).pattern;
    EXPECT_LT(gap(got.numbers.select(3, 0), at::logsumexp(judge(in).scores, {-1}), true), 1e-5);
    EXPECT_LT(gap(got.numbers.select(3, 6), p.sum(-1), true), 1e-5);
    EXPECT_LT(gap(got.at.select(3, 0), p.diagonal(0, 2, 3)), 1e-5);
  }
}

}  // namespace
}  // namespace microtome::mixers
