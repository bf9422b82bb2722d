// Hook points of linear mixers: what is captured, that edits take effect where they should, and derivatives.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/unit/mixers/test_linear_support.h"

namespace microtome {
namespace {

using testing::attn;
using testing::linear_kinds;
using testing::LinearRun;
using testing::LinearSubject;
using testing::max_diff;
using testing::subject_of;

constexpr int64_t kPos = 60;

TEST(LinearHooks, StatesAtSomePositionsAreThoseOfAllPositions) {
  for (const char* name : linear_kinds()) {
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
      SCOPED_TRACE(std::string(name) + " " + form_name(form));
      LinearSubject s = subject_of(name, kPos, at::kDouble);
      const std::vector<int64_t> positions = {0, 1, 17, 33, s.about.pos - 1};
      for (const char* point : {"hook_state", "hook_state_write"}) {
        HookPlan all, some;
        all.capture(attn(point));
        some.capture(attn(point), positions);
        LinearRun a = s.run(all, nullptr, form), b = s.run(some, nullptr, form);
        at::Tensor states = a.cache.get(attn(point)), picked = b.cache.get(attn(point));
        ASSERT_EQ(states.size(1), s.about.pos);
        ASSERT_EQ(picked.size(1), static_cast<int64_t>(positions.size()));
        EXPECT_LE(max_diff(picked, states.index_select(1, at::tensor(positions))), 1e-10);
        EXPECT_LE(max_diff(a.out, s.out()), 1e-10);
        EXPECT_LE(max_diff(b.out, s.out()), 1e-10);
      }
      HookPlan last;
      last.capture(attn("hook_state"), {-1});
      MixerState state;
      LinearRun r = s.run(last, &state, form);
      EXPECT_LE(max_diff(r.cache.get(attn("hook_state")).squeeze(1), state.tensors.at("S")), 1e-12);
    }
  }
}

TEST(LinearHooks, AWriteIsTheStateLessItsDecayedPredecessor) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject s = subject_of(name, kPos, at::kDouble);
    HookPlan plan;
    plan.capture(attn("hook_state")).capture(attn("hook_state_write"));
    const bool decays = s.catalogue.find(attn("hook_decay")) != nullptr;
    if (decays) plan.capture(attn("hook_decay"));
    LinearRun r = s.run(plan);
    at::Tensor S = r.cache.get(attn("hook_state")), W = r.cache.get(attn("hook_state_write"));
    at::Tensor kept = S.slice(1, 0, -1);
    if (decays) kept = kept * r.cache.get(attn("hook_decay")).slice(1, 1).exp().unsqueeze(-1);
    EXPECT_LE(max_diff(kept + W.slice(1, 1), S.slice(1, 1)), 1e-12);
    EXPECT_LE(max_diff(W.select(1, 0), S.select(1, 0)), 1e-12);
  }
}

TEST(LinearHooks, AChangedStateChangesItsOwnReadOutAndAllLaterOnes) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject s = subject_of(name, kPos, at::kDouble);
    const int64_t at_pos = 21;
    for (const char* point : {"hook_state", "hook_state_write"}) {
      HookPlan plan, plain;
      plain.capture(attn("hook_z"));
      plan.capture(attn("hook_z"));
      plan.capture(attn("hook_state"), {at_pos});
      int calls = 0;
      plan.edit(attn(point), [&](const at::Tensor& v, int64_t first) {
        EXPECT_EQ(first, at_pos);
        EXPECT_EQ(v.size(1), 1);
        ++calls;
        return v * 0 + 0.25;
      }, {at_pos});
      LinearRun before = s.run(plain), after = s.run(plan);
      EXPECT_EQ(calls, 1);
      at::Tensor change = (after.cache.get(attn("hook_z")) - before.cache.get(attn("hook_z"))).abs().amax({0, 2, 3});
      EXPECT_LE(change.slice(0, 0, at_pos).max().item<double>(), 1e-12) << point;
      EXPECT_GT(change[at_pos].item<double>(), 1e-6) << point;
      EXPECT_GT(change[at_pos + 1].item<double>(), 1e-8) << point;
      if (std::string(point) == "hook_state") {
        EXPECT_LE(max_diff(after.cache.get(attn("hook_state")), at::full({1}, 0.25, at::kDouble)), 1e-15);
      }
    }
  }
}

TEST(LinearHooks, ThePatternTimesTheValuesIsTheOutput) {
  for (const char* name : linear_kinds()) {
    for (const MixerCase& c : mixers::builtin().find(name)->cases) {
      for (at::ScalarType type : {at::kDouble, at::kFloat}) {
        SCOPED_TRACE(std::string(name) + " " + c.name + " " + c10::toString(type));
        LinearSubject s = testing::make_subject(*mixers::builtin().find(name), c, type);
        HookPlan plan;
        plan.capture(attn("hook_pattern")).capture(attn("hook_v")).capture(attn("hook_z"));
        MixerState state;
        for (int with_state : {0, 1}) {
          // The second round starts from the state the first one left.
          LinearRun r = s.run(plan, &state, MixerForm::kAuto);
          at::Tensor A = r.cache.get(attn("hook_pattern")), v = r.cache.get(attn("hook_v"));
          ASSERT_EQ(A.sizes(), (std::vector<int64_t>{c.batch, s.mixer->info().heads, c.pos, c.pos}));
          EXPECT_EQ(A.triu(1).abs().max().item<double>(), 0.0);
          at::Tensor residual = r.cache.get(attn("hook_pattern_residual"));
          EXPECT_LE(residual.max().item<double>(), type == at::kDouble ? 1e-10 : 2e-5);
          if (with_state) continue;
          at::Tensor by_head = v.repeat_interleave(A.size(1) / v.size(2), 2).transpose(1, 2);
          at::Tensor z = r.cache.get(attn("hook_z"));
          const double size = z.abs().max().item<double>();
          EXPECT_LE(max_diff(at::matmul(A, by_head).transpose(1, 2), z), (type == at::kDouble ? 1e-11 : 2e-5) * size);
        }
      }
    }
  }
}

TEST(LinearHooks, AChangedPatternIsUsedAndKeepsTheIncomingStatesShare) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject s = subject_of(name, kPos, at::kDouble);
    auto same = [](const at::Tensor& a, int64_t) { return a * 1.0; };
    auto none = [](const at::Tensor& a, int64_t) { return a * 0; };
    HookPlan keep, clear;
    keep.edit(attn("hook_pattern"), same);
    clear.edit(attn("hook_pattern"), none).capture(attn("hook_z"));
    MixerState first;
    s.run(HookPlan(), &first);
    MixerState a = first, b = first, c = first;
    EXPECT_LE(max_diff(s.run(keep, &a).out, s.run(HookPlan(), &b).out), 1e-9);
    EXPECT_LE(max_diff(a.tensors.at("S"), b.tensors.at("S")), 1e-10);
    EXPECT_EQ(s.run(clear).cache.get(attn("hook_z")).abs().max().item<double>(), 0.0);
    EXPECT_GT(s.run(clear, &c).cache.get(attn("hook_z")).abs().max().item<double>(), 1e-8);
  }
}

TEST(LinearHooks, EditsThatChangeNothingChangeNothing) {
  for (const char* name : linear_kinds()) {
    for (const MixerCase& c : mixers::builtin().find(name)->cases) {
      LinearSubject s = testing::make_subject(*mixers::builtin().find(name), c, at::kDouble);
      at::Tensor want = s.out();
      for (const HookPoint& p : s.mixer->info().points) {
        if (p.name == "hook_pattern_residual") continue;
        SCOPED_TRACE(std::string(name) + " " + c.name + " " + p.name);
        HookPlan same, other;
        same.edit(attn(p.name.c_str()), [](const at::Tensor& v, int64_t) { return v * 1.0; });
        EXPECT_LE(max_diff(s.run(same).out, want), 1e-9);
        if (c.pos == 1) continue;   // a first token has nothing to decay
        // An activation may be flat, a norm may undo a factor: a random change is neither.
        other.edit(attn(p.name.c_str()), [](const at::Tensor& v, int64_t first) {
          at::manual_seed(first + 1);
          return v + at::rand_like(v) * 0.3;
        });
        EXPECT_GT(max_diff(s.run(other).out, want), 1e-7);
      }
    }
  }
}

TEST(LinearHooks, ResultsOfTheHeadsSumToTheOutput) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject s = subject_of(name, kPos, at::kDouble);
    HookPlan plan;
    plan.capture(attn("hook_result"));
    LinearRun r = s.run(plan);
    EXPECT_LE(max_diff(r.cache.get(attn("hook_result")).sum(2), r.out), 1e-11);
  }
}

TEST(LinearHooks, ConvolutionWindowsEndInTheTokensOwnInput) {
  for (const char* name : {"retention", "gla", "delta_rule", "gated_delta_rule"}) {
    SCOPED_TRACE(name);
    const MixerKind* kind = mixers::builtin().find(name);
    for (const MixerCase& c : kind->cases) {
      LinearSubject s = testing::make_subject(*kind, c, at::kDouble);
      if (!s.catalogue.find(attn("hook_conv_state")) || c.pos < 10) continue;
      HookPlan plan;
      plan.capture(attn("hook_conv_state"));
      for (const char* p : {"hook_q_pre_conv", "hook_k_pre_conv", "hook_v_pre_conv"}) plan.capture(attn(p));
      LinearRun r = s.run(plan);
      at::Tensor windows = r.cache.get(attn("hook_conv_state"));
      at::Tensor inputs = at::cat({r.cache.get(attn("hook_q_pre_conv")).flatten(2),
                                   r.cache.get(attn("hook_k_pre_conv")).flatten(2),
                                   r.cache.get(attn("hook_v_pre_conv")).flatten(2)}, 2);
      EXPECT_LE(max_diff(windows.select(3, windows.size(3) - 1), inputs), 0.0);
      EXPECT_LE(max_diff(windows.slice(1, 1).select(3, 0), windows.slice(1, 0, -1).select(3, 1)), 0.0);
      EXPECT_EQ(windows.select(1, 0).select(2, 0).abs().max().item<double>(), 0.0);
    }
  }
}

// d loss / d (size of a change at a point), by autograd and by finite differences.
void check_derivative(const LinearSubject& s, const char* point, const std::vector<int64_t>& positions) {
  SCOPED_TRACE(point);
  auto loss = [&](const at::Tensor& size) {
    HookPlan plan;
    plan.edit(attn(point), [&](const at::Tensor& v, int64_t first) {
      at::Tensor way = at::arange(v.numel(), at::kDouble).add(static_cast<double>(first)).cos().view(v.sizes());
      return v + way * size;
    }, positions);
    at::Tensor out = s.run(plan).out;
    return (out * at::arange(out.numel(), at::kDouble).sin().view(out.sizes())).sum();
  };
  at::Tensor zero = at::zeros({}, at::kDouble).requires_grad_(true);
  const double analytic = torch::autograd::grad({loss(zero)}, {zero})[0].item<double>();
  at::NoGradGuard no_grad;
  const double eps = 1e-6;
  const double up = loss(at::full({}, eps, at::kDouble)).item<double>();
  const double down = loss(at::full({}, -eps, at::kDouble)).item<double>();
  const double numeric = (up - down) / (2 * eps);
  EXPECT_NE(analytic, 0.0);
  EXPECT_NEAR(analytic, numeric, 2e-5 * std::max(1.0, std::abs(numeric)));
}

TEST(LinearHooks, DerivativesWithRespectToEveryPointMatchFiniteDifferences) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject s = subject_of(name, kPos, at::kDouble);
    for (const HookPoint& p : s.mixer->info().points) {
      if (p.name == "hook_pattern_residual") continue;
      const bool state = p.name.rfind("hook_state", 0) == 0;
      check_derivative(s, p.name.c_str(), {});
      if (state) check_derivative(s, p.name.c_str(), {3, 40});
    }
  }
  LinearSubject normalized = testing::make_subject(*mixers::builtin().find("linear_attn"),
                                                   mixers::builtin().find("linear_attn")->cases[2], at::kDouble);
  ASSERT_NE(normalized.catalogue.find(attn("hook_state_normalizer")), nullptr);
  for (const char* point : {"hook_state_normalizer", "hook_state", "hook_pattern"})
    check_derivative(normalized, point, std::string(point) == "hook_pattern" ? std::vector<int64_t>{}
                                                                            : std::vector<int64_t>{2, 50});
}

}  // namespace
}  // namespace microtome
