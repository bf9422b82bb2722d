// Every registered mixer × form × case against its naive form: outputs, states, gradients, continuation. A new mixer
// folder is tested without an edit here.
#include "tests/conformance/mixer_harness.h"

#include <ATen/core/grad_mode.h>

#include <set>

namespace microtome::testing {
namespace {

class Mixers : public ::testing::TestWithParam<Subject> {
 protected:
  const MixerKind& kind() const { return *mixers::builtin().find(GetParam().kind); }
  const MixerCase& the_case() const { return kind().cases[GetParam().index]; }
  bool causal() const { return the_case().params.get_bool("causal", true); }
  // Tolerances: the case's own in float32; rounding alone in float64.
  double atol(at::ScalarType t) const { return t == at::kDouble ? 1e-11 : the_case().atol; }
  double rtol(at::ScalarType t) const { return t == at::kDouble ? 1e-11 : the_case().rtol; }
};

std::string label(MixerForm form, at::ScalarType type, int64_t pos) {
  return std::string(form_name(form)) + " " + c10::toString(type) + " pos " + std::to_string(pos);
}

TEST_P(Mixers, DescribesItself) {
  const MixerCase& c = the_case();
  const MixerInfo info = kind().info(c.params, c.d_model);
  EXPECT_EQ(info.kind, kind().name);
  EXPECT_GT(info.heads, 0);
  EXPECT_GT(info.kv_heads, 0);
  EXPECT_GT(info.d_k, 0);
  EXPECT_GT(info.d_v, 0);
  ASSERT_FALSE(info.forms.empty());
  EXPECT_EQ(info.forms.front(), MixerForm::kNaive);
  std::set<std::string> names;
  for (const HookPoint& p : info.points) {
    EXPECT_TRUE(names.insert(p.name).second) << p.name;
    EXPECT_EQ(p.axes.size(), p.sizes.size()) << p.name;
  }
  EXPECT_TRUE(names.count("hook_z"));
  EXPECT_TRUE(names.count("hook_pattern"));
  EXPECT_EQ(names.count("hook_state"), info.recurrent ? 1u : 0u);
  EXPECT_FALSE(kind().paper.empty());
}

TEST_P(Mixers, RefusesWrongShapes) {
  const MixerCase& c = the_case();
  WeightMap weights = random_weights(kind(), c.params, c.d_model, at::kFloat, 1);
  const std::string first = kind().weights(c.params, c.d_model).front().name;
  auto mixer = kind().create(c.params, c.d_model, weights);
  EXPECT_THROW(run_mixer(*mixer, at::zeros({1, 3, c.d_model + 1})), Error);
  EXPECT_THROW(run_mixer(*mixer, at::zeros({3, c.d_model})), Error);
  WeightMap wrong = weights;
  wrong[first] = at::zeros({3, 5});
  EXPECT_THROW(kind().create(c.params, c.d_model, wrong), Error) << first;
  wrong.erase(first);
  EXPECT_THROW(kind().create(c.params, c.d_model, wrong), Error) << first;
}

TEST_P(Mixers, FormsAgree) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  for (auto type : {at::kFloat, at::kDouble}) {
    auto mixer = make_mixer(kind(), c, type);
    for (int64_t pos : {int64_t{1}, c.pos, int64_t{67}}) {
      for (bool from_state : {false, true}) {
        if (from_state && !causal()) continue;
        MixerState start;
        const int64_t before = from_state ? 5 : 0;
        if (from_state) run_mixer(*mixer, random_input(c, before, type, 9), {MixerForm::kNaive, &start});
        at::Tensor x = random_input(c, pos, type);
        MixerState want_state = start;
        at::Tensor want = run_mixer(*mixer, x, {MixerForm::kNaive, causal() ? &want_state : nullptr, before});
        EXPECT_EQ(want.scalar_type(), type);
        EXPECT_EQ(want.sizes(), x.sizes());
        std::vector<MixerForm> forms = mixer->info().forms;
        forms.push_back(MixerForm::kAuto);
        for (MixerForm form : forms) {
          MixerState state = start;
          at::Tensor got = run_mixer(*mixer, x, {form, causal() ? &state : nullptr, before});
          EXPECT_TRUE(close(got, want, atol(type), rtol(type))) << label(form, type, pos);
          if (causal()) {
            EXPECT_TRUE(close(state, want_state, atol(type), rtol(type))) << label(form, type, pos);
          }
          // Keeping no state changes nothing.
          if (!from_state) {
            EXPECT_TRUE(close(run_mixer(*mixer, x, {form}), want, atol(type), rtol(type))) << label(form, type, pos);
          }
        }
      }
    }
  }
}

TEST_P(Mixers, LeavesItsArgumentsAlone) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  auto mixer = make_mixer(kind(), c, at::kFloat);
  at::Tensor x = random_input(c, length(c), at::kFloat), copy = x.clone();
  for (MixerForm form : mixer->info().forms) {
    at::Tensor first = run_mixer(*mixer, x, {form}).clone();
    EXPECT_TRUE(x.equal(copy)) << form_name(form);
    EXPECT_TRUE(run_mixer(*mixer, x, {form}).equal(first)) << form_name(form);
    if (!causal()) continue;
    MixerState start;
    run_mixer(*mixer, x, {form, &start});
    MixerState kept;
    for (const auto& [name, t] : start.tensors) kept.tensors[name] = t.defined() ? t.clone() : t;
    MixerState used = start;                 // shares its tensors with `start`
    run_mixer(*mixer, x, {form, &used, length(c)});
    EXPECT_TRUE(close(start, kept, 0, 0)) << form_name(form);
  }
}

TEST_P(Mixers, ContinuesWhereItStopped) {
  if (!causal()) GTEST_SKIP() << "attention in both directions keeps no state";
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  for (auto type : {at::kFloat, at::kDouble}) {
    auto mixer = make_mixer(kind(), c, type);
    at::Tensor x = random_input(c, length(c), type);
    MixerState want_state;
    at::Tensor want = run_mixer(*mixer, x, {MixerForm::kNaive, &want_state});
    for (MixerForm form : mixer->info().forms) {
      for (int64_t cut : {int64_t{1}, int64_t{7}, length(c) - 1}) {
        MixerState state;
        at::Tensor a = run_mixer(*mixer, x.narrow(1, 0, cut), {form, &state});
        at::Tensor b = run_mixer(*mixer, x.narrow(1, cut, length(c) - cut), {form, &state, cut});
        EXPECT_TRUE(close(at::cat({a, b}, 1), want, atol(type), rtol(type))) << label(form, type, cut);
        EXPECT_TRUE(close(state, want_state, atol(type), rtol(type))) << label(form, type, cut);
        if (!mixer->info().recurrent) continue;
        for (const auto& [name, t] : state.tensors) EXPECT_EQ(t.scalar_type(), type) << name;
      }
    }
  }
}

TEST_P(Mixers, DecodesTokenByToken) {
  if (!causal()) GTEST_SKIP() << "attention in both directions keeps no state";
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  for (auto type : {at::kFloat, at::kDouble}) {
    auto mixer = make_mixer(kind(), c, type);
    at::Tensor x = random_input(c, length(c), type);
    MixerState want_state;
    at::Tensor want = run_mixer(*mixer, x, {MixerForm::kNaive, &want_state});
    std::vector<MixerForm> forms = mixer->info().forms;
    forms.push_back(MixerForm::kAuto);
    // In float32 a projection of one token rounds unlike one of many, which a norm of a small z makes larger.
    const double slack = type == at::kFloat ? 4 : 1;
    for (MixerForm form : forms) {
      MixerState state;
      std::vector<at::Tensor> parts;
      for (int64_t t = 0; t < length(c); ++t) parts.push_back(run_mixer(*mixer, x.narrow(1, t, 1), {form, &state, t}));
      EXPECT_TRUE(close(at::cat(parts, 1), want, slack * atol(type), slack * rtol(type))) << label(form, type, 1);
      EXPECT_TRUE(close(state, want_state, slack * atol(type), slack * rtol(type))) << label(form, type, 1);
    }
  }
}

TEST_P(Mixers, SeesNoLaterToken) {
  if (!causal()) GTEST_SKIP() << "attention in both directions";
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, length(c), at::kDouble), other = x.clone();
  other.narrow(1, 10, length(c) - 10).mul_(-2.0);
  for (MixerForm form : mixer->info().forms) {
    at::Tensor a = run_mixer(*mixer, x, {form}), b = run_mixer(*mixer, other, {form});
    EXPECT_TRUE(close(a.narrow(1, 0, 10), b.narrow(1, 0, 10), 1e-12, 1e-12)) << form_name(form);
    EXPECT_GT(max_abs(a.narrow(1, 10, 1) - b.narrow(1, 10, 1)), 1e-4) << form_name(form);
  }
}

TEST_P(Mixers, ReadsChosenPositions) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  for (auto type : {at::kFloat, at::kDouble}) {
    auto mixer = make_mixer(kind(), c, type);
    at::Tensor x = random_input(c, length(c), type), want = run_mixer(*mixer, x, {MixerForm::kNaive});
    for (MixerForm form : mixer->info().forms) {
      for (const std::vector<int64_t>& read : {std::vector<int64_t>{length(c) - 1}, {0, 6, 7, length(c) - 2}}) {
        RunArgs args{form};
        args.read = read;
        at::Tensor got = run_mixer(*mixer, x, args), index = at::tensor(read, at::kLong);
        if (got.size(1) == length(c)) got = got.index_select(1, index);
        EXPECT_TRUE(close(got, want.index_select(1, index), atol(type), rtol(type))) << label(form, type, read[0]);
      }
    }
  }
}

TEST_P(Mixers, RunsInHalfPrecision) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  auto exact = make_mixer(kind(), c, at::kFloat), coarse = make_mixer(kind(), c, at::kBFloat16);
  at::Tensor x = random_input(c, length(c), at::kFloat), want = run_mixer(*exact, x);
  for (MixerForm form : coarse->info().forms) {
    MixerState state;
    at::Tensor got = run_mixer(*coarse, x.to(at::kBFloat16), {form, causal() ? &state : nullptr});
    EXPECT_EQ(got.scalar_type(), at::kBFloat16) << form_name(form);
    EXPECT_LT((got.to(at::kFloat) - want).norm().item<double>(), 0.1 * want.norm().item<double>()) << form_name(form);
    auto s = state.tensors.find("S");
    if (coarse->info().recurrent && s != state.tensors.end()) {
      EXPECT_EQ(s->second.scalar_type(), at::kFloat);
    }
  }
}

// Gradients of a random projection of the output and of the final state, in x, the initial state and the weights.
std::map<std::string, at::Tensor> all_gradients(const MixerKind& kind, const MixerCase& c, MixerForm form,
                                                bool causal) {
  WeightMap weights = random_weights(kind, c.params, c.d_model, at::kDouble, 1);
  MixerState start;
  if (causal) {
    at::NoGradGuard no_grad;
    auto mixer = kind.create(c.params, c.d_model, weights);
    run_mixer(*mixer, random_input(c, 5, at::kDouble, 9), {MixerForm::kNaive, &start});
  }
  std::map<std::string, at::Tensor> leaves;
  for (auto& [name, w] : weights) leaves["weight " + name] = w.requires_grad_(true);
  for (auto& [name, t] : start.tensors) {
    if (!t.defined()) continue;
    t = t.detach().clone().requires_grad_(true);
    leaves["initial " + name] = t;
  }
  at::Tensor x = random_input(c, length(c), at::kDouble).requires_grad_(true);
  leaves["x"] = x;
  auto mixer = kind.create(c.params, c.d_model, weights);
  MixerState state = start;
  at::Tensor y = run_mixer(*mixer, x, {form, causal ? &state : nullptr, causal ? 5 : 0});
  Rng rng(3);
  at::Tensor metric = (y * random_tensor(rng, y.sizes().vec(), at::kDouble)).sum();
  for (const auto& [name, t] : state.tensors)
    if (t.defined() && t.requires_grad())
      metric = metric + (t * random_tensor(rng, t.sizes().vec(), at::kDouble)).sum();
  metric.backward();
  std::map<std::string, at::Tensor> out;
  for (auto& [name, leaf] : leaves) out[name] = leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  return out;
}

TEST_P(Mixers, GradientsAgree) {
  const MixerCase& c = the_case();
  auto want = all_gradients(kind(), c, MixerForm::kNaive, causal());
  for (MixerForm form : kind().info(c.params, c.d_model).forms) {
    if (form == MixerForm::kNaive) continue;
    auto got = all_gradients(kind(), c, form, causal());
    for (const auto& [name, w] : want)
      EXPECT_TRUE(close(got.at(name), w, 1e-8, 1e-8)) << form_name(form) << ": " << name;
  }
}

TEST_P(Mixers, NaiveGradientIsTheDerivative) {
  const MixerCase& c = the_case();
  auto mixer = make_mixer(kind(), c, at::kDouble);
  Rng rng(4);
  at::Tensor x = random_input(c, length(c), at::kDouble), d = random_tensor(rng, x.sizes().vec(), at::kDouble);
  at::Tensor weigh = random_tensor(rng, x.sizes().vec(), at::kDouble);
  at::Tensor leaf = x.clone().requires_grad_(true);
  (run_mixer(*mixer, leaf, {MixerForm::kNaive}) * weigh).sum().backward();
  const double got = (leaf.grad() * d).sum().item<double>();
  at::NoGradGuard no_grad;
  EXPECT_TRUE(is_derivative(got, [&](double h) {
    return (run_mixer(*mixer, x + h * d, {MixerForm::kNaive}) * weigh).sum().item<double>();
  }));
}

TEST_P(Mixers, SplitInputsEqualUnsplit) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  auto mixer = make_mixer(kind(), c, at::kDouble);
  const MixerInfo& info = mixer->info();
  at::Tensor x = random_input(c, length(c), at::kDouble), want = run_mixer(*mixer, x, {MixerForm::kNaive});
  at::Tensor by_head = x.unsqueeze(2).expand({x.size(0), x.size(1), info.heads, x.size(2)});
  auto check = [&](MixerForm form, std::map<std::string, at::Tensor> split, const std::string& what) {
    RunArgs args{form};
    args.split = std::move(split);
    EXPECT_TRUE(close(run_mixer(*mixer, x, args), want, 1e-10, 1e-10)) << form_name(form) << " " << what;
  };
  for (MixerForm form : info.forms) {
    std::map<std::string, at::Tensor> all;
    for (const std::string& role : info.inputs) {
      check(form, {{role, by_head}}, role);
      all[role] = by_head;
    }
    check(form, all, "all roles");
  }
}

TEST_P(Mixers, SplitInputsReachTheirHeadOnly) {
  at::NoGradGuard no_grad;
  const MixerCase& c = the_case();
  auto mixer = make_mixer(kind(), c, at::kDouble);
  const MixerInfo& info = mixer->info();
  if (info.heads < 2) GTEST_SKIP() << "one head";
  at::Tensor x = random_input(c, length(c), at::kDouble);
  at::Tensor by_head = x.unsqueeze(2).expand({x.size(0), x.size(1), info.heads, x.size(2)});
  Rng rng(5);
  at::Tensor changed = by_head.clone();
  changed.select(2, 1).add_(random_tensor(rng, x.sizes().vec(), at::kDouble, 0.5));
  HookPlan plan;
  plan.capture(kPrefix + ".hook_z");
  for (const std::string& role : info.inputs) {
    ActivationCache before, after;
    RunArgs args{MixerForm::kAuto, nullptr, 0, &plan, &before, {{role, by_head}}};
    at::Tensor y0 = run_mixer(*mixer, x, args);
    args.cache = &after;
    args.split[role] = changed;
    at::Tensor y1 = run_mixer(*mixer, x, args);
    EXPECT_GT(max_abs(y1 - y0), 1e-4) << role;
    at::Tensor dz = after.get(kPrefix + ".hook_z") - before.get(kPrefix + ".hook_z");
    for (int64_t h = 0; h < info.heads; ++h) {
      if (h == 1) continue;
      EXPECT_LT(max_abs(dz.select(2, h)), 1e-12) << role << ", head " << h;
    }
    // A gate acts after z; every other input shows in the head's own z.
    if (role != "gate") {
      EXPECT_GT(max_abs(dz.select(2, 1)), 1e-4) << role;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Mixers, ::testing::ValuesIn(subjects()), subject_name);

TEST(MixerRegistry, HasEveryMixerOnceWithCases) {
  ASSERT_FALSE(mixers::builtin().all().empty());
  for (const MixerKind* kind : mixers::builtin().all()) {
    EXPECT_FALSE(kind->cases.empty()) << kind->name;
    EXPECT_EQ(mixers::builtin().find(kind->name), kind);
    for (const std::string& alias : kind->aliases) EXPECT_EQ(mixers::builtin().find(alias), kind) << alias;
    std::set<std::string> names;
    for (const MixerCase& c : kind->cases) EXPECT_TRUE(names.insert(c.name).second) << kind->name << " " << c.name;
  }
  EXPECT_EQ(mixers::builtin().find("no_such_mixer"), nullptr);
}

}  // namespace
}  // namespace microtome::testing
