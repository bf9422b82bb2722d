// Every hook point of every registered mixer: readable with the axes it announces, the same under every form,
// replaceable, and differentiable. A new mixer folder is tested without an edit here.
#include "tests/conformance/mixer_harness.h"

#include <ATen/core/grad_mode.h>

#include <set>

namespace microtome::testing {
namespace {

// Read-outs that nothing is computed from; changing them changes nothing.
const std::set<std::string> kReadOuts = {"hook_pattern_residual", "hook_pattern_residual.ssm", "hook_pattern_statistics",
                                         "hook_pattern_targets", "hook_pattern_at"};

class MixerHooks : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    mixer_ = make_mixer(kind(), the_case(), at::kDouble);
    x_ = random_input(the_case(), length(the_case()), at::kDouble);
  }
  const MixerKind& kind() const { return *mixers::builtin().find(GetParam().kind); }
  const MixerCase& the_case() const { return kind().cases[GetParam().index]; }
  const std::vector<HookPoint>& points() const { return mixer_->info().points; }
  bool catalogue_has(const std::string& name) const {
    for (const HookPoint& p : points())
      if (p.name == name) return true;
    return false;
  }
  bool causal() const { return the_case().params.get_bool("causal", true); }

  std::vector<MixerForm> forms() const {
    std::vector<MixerForm> out = mixer_->info().forms;
    out.push_back(MixerForm::kAuto);
    return out;
  }

  // Output under one edit of one point. f sees the value and the absolute position of its first token.
  at::Tensor edited(const HookPoint& p, const Edit& f, MixerForm form, std::vector<int64_t> positions = {}) const {
    HookPlan plan;
    plan.edit(full_name(p), f, std::move(positions));
    return run_mixer(*mixer_, x_, {form, nullptr, 0, &plan});
  }

  std::unique_ptr<TokenMixer> mixer_;
  at::Tensor x_;
};

// Noise that depends on the position alone, whether the point comes whole or one position at a time.
Edit add_noise(const HookPoint& p, double scale) {
  const int64_t axis = position_axis(p);
  return [axis, scale](const at::Tensor& value, int64_t first_pos) {
    std::vector<at::Tensor> noise;
    std::vector<int64_t> shape = value.sizes().vec();
    shape.erase(shape.begin() + axis);
    for (int64_t t = 0; t < value.size(axis); ++t) {
      Rng rng(item_seed(11, static_cast<uint64_t>(first_pos + t)));
      noise.push_back(random_tensor(rng, shape, value.scalar_type(), scale));
    }
    return value + at::stack(noise, axis);
  };
}

TEST_P(MixerHooks, ReadableWithTheAxesAnnounced) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  at::Tensor plain = run_mixer(*mixer_, x_, {MixerForm::kNaive});
  for (const HookPoint& p : points()) {
    HookPlan plan;
    plan.capture(full_name(p));
    at::Tensor naive;
    for (MixerForm form : forms()) {
      ActivationCache cache;
      at::Tensor y = run_mixer(*mixer_, x_, {form, nullptr, 0, &plan, &cache});
      EXPECT_TRUE(close(y, plain, 1e-10, 1e-10)) << p.name << " changed the output of " << form_name(form);
      ASSERT_TRUE(cache.has(full_name(p))) << p.name << " " << form_name(form);
      at::Tensor value = cache.get(full_name(p));
      EXPECT_FALSE(value.requires_grad());
      EXPECT_EQ(cache.about(full_name(p)).axes, p.axes) << p.name;
      ASSERT_EQ(value.dim(), static_cast<int64_t>(p.axes.size())) << p.name;
      for (size_t a = 0; a < p.axes.size(); ++a) {
        const std::string& axis = p.axes[a];
        int64_t want = p.sizes[a];
        if (axis == "batch") want = c.batch;
        if (axis == "pos" || axis == "q_pos") want = length(c);
        if (axis == "k_pos" && want < 0) want = length(c) * -want;   // a token may be several keys
        EXPECT_EQ(value.size(static_cast<int64_t>(a)), want) << p.name << " axis " << axis;
      }
      if (form == MixerForm::kNaive) naive = value;
      EXPECT_TRUE(close(value, naive, 1e-10, 1e-10)) << p.name << " " << form_name(form);
    }
  }
}

TEST_P(MixerHooks, AllAtOnce) {
  at::NoGradGuard no_grad;
  at::Tensor plain = run_mixer(*mixer_, x_, {MixerForm::kNaive});
  HookPlan plan;
  for (const HookPoint& p : points()) plan.capture(full_name(p));
  for (MixerForm form : forms()) {
    ActivationCache cache;
    at::Tensor y = run_mixer(*mixer_, x_, {form, nullptr, 0, &plan, &cache});
    EXPECT_TRUE(close(y, plain, 1e-10, 1e-10)) << form_name(form);
    for (const HookPoint& p : points()) EXPECT_TRUE(cache.has(full_name(p))) << p.name;
  }
}

TEST_P(MixerHooks, ChosenPositionsAreTheSlice) {
  at::NoGradGuard no_grad;
  const std::vector<int64_t> positions = {2, -1};
  const int64_t last = length(the_case()) - 1;
  for (const HookPoint& p : points()) {
    const int64_t axis = position_axis(p);
    if (axis < 0) continue;
    for (MixerForm form : forms()) {
      HookPlan all, some;
      all.capture(full_name(p));
      some.capture(full_name(p), positions);
      ActivationCache whole, part;
      run_mixer(*mixer_, x_, {form, nullptr, 0, &all, &whole});
      run_mixer(*mixer_, x_, {form, nullptr, 0, &some, &part});
      at::Tensor value = part.get(full_name(p));
      EXPECT_EQ(value.size(axis), 2) << p.name;
      EXPECT_EQ(part.about(full_name(p)).positions, (std::vector<int64_t>{2, last})) << p.name;
      EXPECT_TRUE(close(value, whole.get(full_name(p)).index_select(axis, at::tensor({int64_t{2}, last}, at::kLong)),
                        1e-10, 1e-10)) << p.name << " " << form_name(form);
      // What the cache holds is what it counts: no hidden whole behind a slice.
      EXPECT_LE(static_cast<int64_t>(value.storage().nbytes()), 2 * value.numel() * 8) << p.name;
    }
  }
}

TEST_P(MixerHooks, ReplacingByItselfChangesNothing) {
  at::NoGradGuard no_grad;
  at::Tensor plain = run_mixer(*mixer_, x_, {MixerForm::kNaive});
  for (const HookPoint& p : points())
    for (MixerForm form : forms())
      EXPECT_TRUE(close(edited(p, [](const at::Tensor& v, int64_t) { return v.clone(); }, form), plain, 1e-10, 1e-10))
          << p.name << " " << form_name(form);
}

TEST_P(MixerHooks, NoiseChangesTheOutputAlikeInEveryForm) {
  at::NoGradGuard no_grad;
  at::Tensor plain = run_mixer(*mixer_, x_, {MixerForm::kNaive});
  for (const HookPoint& p : points()) {
    at::Tensor want = edited(p, add_noise(p, 0.05), MixerForm::kNaive);
    if (kReadOuts.count(p.name)) {
      EXPECT_TRUE(close(want, plain, 1e-10, 1e-10)) << p.name;
      continue;
    }
    // A norm behind the point may take most of the change back.
    EXPECT_GT(max_abs(want - plain), 1e-8) << p.name;
    for (MixerForm form : forms())
      EXPECT_TRUE(close(edited(p, add_noise(p, 0.05), form), want, 1e-9, 1e-9)) << p.name << " " << form_name(form);
  }
}

TEST_P(MixerHooks, ChangesAtOnePositionLeaveThePastAlone) {
  if (!causal()) GTEST_SKIP() << "attention in both directions";
  at::NoGradGuard no_grad;
  const int64_t at = 6;
  at::Tensor plain = run_mixer(*mixer_, x_, {MixerForm::kNaive});
  for (const HookPoint& p : points()) {
    if (kReadOuts.count(p.name)) continue;
    const int64_t axis = position_axis(p);
    // Keys see their own column: a whole row of a pattern reads only what lies before it.
    Edit noise = add_noise(p, 0.1);
    auto only_here = [&](const at::Tensor& v, int64_t first) {
      const int64_t here = at - first;
      if (here < 0 || here >= v.size(axis)) return v;
      at::Tensor mask = at::zeros({v.size(axis)}, at::kBool);
      mask[here] = true;
      std::vector<int64_t> shape(static_cast<size_t>(v.dim()), 1);
      shape[static_cast<size_t>(axis)] = v.size(axis);
      return at::where(mask.view(shape), noise(v, first), v);
    };
    at::Tensor want = edited(p, only_here, MixerForm::kNaive);
    EXPECT_TRUE(close(want.narrow(1, 0, at), plain.narrow(1, 0, at), 1e-10, 1e-10)) << p.name;
    EXPECT_GT(max_abs(want - plain), 1e-6) << p.name;
    // Naming the position in the plan gives the same without touching the others.
    for (MixerForm form : forms())
      EXPECT_TRUE(close(edited(p, only_here, form, {at}), want, 1e-9, 1e-9)) << p.name << " " << form_name(form);
  }
}

TEST_P(MixerHooks, GradientsAreTheDerivative) {
  Rng rng(6);
  at::Tensor weigh = random_tensor(rng, x_.sizes().vec(), at::kDouble);
  for (const HookPoint& p : points()) {
    if (kReadOuts.count(p.name)) continue;
    for (MixerForm form : forms()) {
      HookPlan plan;
      plan.capture(full_name(p), {}, true);
      ActivationCache cache;
      at::Tensor y = run_mixer(*mixer_, x_, {form, nullptr, 0, &plan, &cache});
      ASSERT_TRUE(y.requires_grad()) << p.name << " " << form_name(form) << ": the point is not on the path";
      at::Tensor grad = gradient_at((y * weigh).sum(), cache, full_name(p));
      at::Tensor value = cache.get(full_name(p));
      ASSERT_EQ(grad.sizes(), value.sizes()) << p.name;
      Rng direction_rng(7);
      at::Tensor d = random_tensor(direction_rng, value.sizes().vec(), at::kDouble);
      const double got = (grad * d).sum().item<double>();
      at::NoGradGuard no_grad;
      const int64_t axis = position_axis(p);
      EXPECT_TRUE(is_derivative(got, [&](double h) {
        Edit step = [&](const at::Tensor& v, int64_t first) { return v + h * d.narrow(axis, first, v.size(axis)); };
        return (edited(p, step, form) * weigh).sum().item<double>();
      })) << p.name << " " << form_name(form);
    }
  }
}

TEST_P(MixerHooks, GradientsAtChosenPositionsAreTheSlice) {
  Rng rng(6);
  at::Tensor weigh = random_tensor(rng, x_.sizes().vec(), at::kDouble);
  for (const HookPoint& p : points()) {
    if (p.name != "hook_state" && p.name != "hook_state_write") continue;
    at::Tensor grads[2];
    for (int some = 0; some < 2; ++some) {
      HookPlan plan;
      plan.capture(full_name(p), some ? std::vector<int64_t>{3, 8} : std::vector<int64_t>{}, true);
      ActivationCache cache;
      at::Tensor y = run_mixer(*mixer_, x_, {MixerForm::kAuto, nullptr, 0, &plan, &cache});
      grads[some] = gradient_at((y * weigh).sum(), cache, full_name(p));
    }
    EXPECT_TRUE(close(grads[1], grads[0].index_select(1, at::tensor({int64_t{3}, int64_t{8}}, at::kLong)), 1e-9, 1e-9))
        << p.name;
  }
}

TEST_P(MixerHooks, ReadTheSameAfterAPrefix) {
  if (!causal()) GTEST_SKIP() << "attention in both directions keeps no state";
  at::NoGradGuard no_grad;
  const int64_t cut = 7, rest = length(the_case()) - cut;
  for (const HookPoint& p : points()) {
    const int64_t axis = position_axis(p);
    if (axis < 0) continue;
    HookPlan plan;
    plan.capture(full_name(p));
    ActivationCache whole, part;
    run_mixer(*mixer_, x_, {MixerForm::kAuto, nullptr, 0, &plan, &whole});
    MixerState state;
    run_mixer(*mixer_, x_.narrow(1, 0, cut), {MixerForm::kAuto, &state});
    run_mixer(*mixer_, x_.narrow(1, cut, rest), {MixerForm::kAuto, &state, cut, &plan, &part});
    at::Tensor got = part.get(full_name(p)), want = whole.get(full_name(p));
    want = want.narrow(axis, cut, rest);
    // Keys count from the start of the sequence. Softmax keeps them; a state has merged them, so that they have no weight
    // of their own.
    // Beside softmax attention, the state's pattern has the suffix.
    const bool pattern = p.axes[static_cast<size_t>(axis)] == "q_pos", beside = catalogue_has("hook_pattern.ssm");
    if (pattern && mixer_->info().recurrent && (!beside || p.name.ends_with(".ssm"))) {
      const int64_t keys = want.size(3) / length(the_case()) * cut;
      want = at::cat({at::zeros_like(want.narrow(3, 0, keys)), want.narrow(3, keys, want.size(3) - keys)}, 3);
    }
    EXPECT_TRUE(close(got, want, 1e-10, 1e-10)) << p.name;
    EXPECT_EQ(part.about(full_name(p)).first_pos, cut) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, MixerHooks, ::testing::ValuesIn(subjects()), subject_name);

}  // namespace
}  // namespace microtome::testing
