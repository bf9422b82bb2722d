// What is particular to state-space mixers: where x counts as the value alone, windows kept across runs with and without
// split inputs, and what their parameters refuse.
#include "tests/conformance/mixer_harness.h"

#include <ATen/core/grad_mode.h>

namespace microtome::testing {
namespace {

struct Made {
  const MixerKind* kind;
  MixerCase about;
  std::unique_ptr<TokenMixer> mixer;
};

Made made(const std::string& name, const std::string& case_name) {
  Made m;
  m.kind = mixers::builtin().find(name);
  for (const MixerCase& c : m.kind->cases)
    if (c.name == case_name) m.about = c;
  m.mixer = make_mixer(*m.kind, m.about, at::kDouble);
  return m;
}

// Whether doubling `point` moves `seen`.
bool reaches(const Made& m, const std::string& point, const std::string& seen) {
  at::NoGradGuard no_grad;
  at::Tensor x = random_input(m.about, 12, at::kDouble);
  ActivationCache before, after;
  HookPlan read, change;
  read.capture(kPrefix + "." + seen);
  change.capture(kPrefix + "." + seen).edit(kPrefix + "." + point, [](const at::Tensor& v, int64_t) { return 2 * v; });
  run_mixer(*m.mixer, x, {MixerForm::kAuto, nullptr, 0, &read, &before});
  run_mixer(*m.mixer, x, {MixerForm::kAuto, nullptr, 0, &change, &after});
  return max_abs(after.get(kPrefix + "." + seen) - before.get(kPrefix + "." + seen)) > 1e-9;
}

TEST(StateSpace, MambaReadsXTwice) {
  const Made m = made("mamba1", "norms");
  for (const char* follows : {"hook_k", "hook_q", "hook_dt"}) {
    EXPECT_TRUE(reaches(m, "hook_v_pre_conv", follows)) << follows;
    EXPECT_TRUE(reaches(m, "hook_conv_state", follows)) << follows;
    EXPECT_FALSE(reaches(m, "hook_v", follows)) << follows;
  }
  EXPECT_TRUE(reaches(m, "hook_v", "hook_state"));
  EXPECT_TRUE(reaches(m, "hook_dt", "hook_decay"));
  EXPECT_TRUE(reaches(m, "hook_dt", "hook_state_write"));
}

TEST(StateSpace, TheSkipIsInZAndOnTheDiagonal) {
  at::NoGradGuard no_grad;
  for (auto [name, which] : {std::pair{"mamba1", "plain"}, {"mamba2", "groups"}, {"log_linear_attn", "plain"}}) {
    Made m = made(name, which);
    at::Tensor x = random_input(m.about, 12, at::kDouble);
    WeightMap w = random_weights(*m.kind, m.about.params, m.about.d_model, at::kDouble, 1);
    HookPlan plan;
    plan.capture(kPrefix + ".hook_pattern").capture(kPrefix + ".hook_z").capture(kPrefix + ".hook_v");
    ActivationCache with, without;
    run_mixer(*m.mixer, x, {MixerForm::kAuto, nullptr, 0, &plan, &with});
    at::Tensor d = w.at("D");
    w["D"] = at::zeros_like(d);
    auto plain = m.kind->create(m.about.params, m.about.d_model, w);
    run_mixer(*plain, x, {MixerForm::kAuto, nullptr, 0, &plan, &without});
    auto added = [&](const char* point) { return with.get(kPrefix + point) - without.get(kPrefix + point); };
    at::Tensor diagonal = at::eye(12, at::kDouble) * d.view({1, -1, 1, 1});
    EXPECT_TRUE(close(added(".hook_pattern"), diagonal.expand({m.about.batch, -1, -1, -1}), 1e-12, 1e-12)) << name;
    EXPECT_TRUE(close(added(".hook_z"), d.view({1, 1, -1, 1}) * with.get(kPrefix + ".hook_v"), 1e-12, 1e-12)) << name;
  }
}

// B and C come once a group from a run as it is, once a head from one with split inputs; either continues the other.
TEST(StateSpace, RunsWithAndWithoutSplitInputsContinueEachOther) {
  at::NoGradGuard no_grad;
  for (const char* which : {"groups", "tiled_norm_before_gate"}) {
    Made m = made("mamba2", which);
    const int64_t cut = 6, n = 14, heads = m.mixer->info().heads;
    at::Tensor x = random_input(m.about, n, at::kDouble), want = run_mixer(*m.mixer, x);
    auto split = [&](const at::Tensor& part) {
      std::map<std::string, at::Tensor> out;
      for (const std::string& role : m.mixer->info().inputs)
        out[role] = part.unsqueeze(2).expand({part.size(0), part.size(1), heads, part.size(2)});
      return out;
    };
    for (bool first : {true, false}) {
      MixerState state;
      RunArgs head{MixerForm::kAuto, &state}, tail{MixerForm::kAuto, &state, cut};
      at::Tensor a = x.narrow(1, 0, cut), b = x.narrow(1, cut, n - cut);
      (first ? head : tail).split = split(first ? a : b);
      at::Tensor ya = run_mixer(*m.mixer, a, head), yb = run_mixer(*m.mixer, b, tail);
      EXPECT_TRUE(close(at::cat({ya, yb}, 1), want, 1e-12, 1e-12)) << which << (first ? ", first" : ", then");
    }
  }
}

TEST(StateSpace, ParametersAreRefusedByName) {
  auto refusal = [](const char* kind, const char* which, const char* key, ParamValue value) {
    Made m = made(kind, which);
    m.about.params.set(key, std::move(value));
    try {
      m.kind->info(m.about.params, m.about.d_model);
    } catch (const Error& e) {
      return e.status().text();
    }
    return std::string();
  };
  auto has = [](const std::string& text, std::initializer_list<const char*> words) {
    for (const char* w : words) EXPECT_NE(text.find(w), std::string::npos) << w << ": " << text;
  };
  has(refusal("mamba2", "plain", "group_order", std::string("rows")), {"group_order", "rows", "blocks or tiled"});
  has(refusal("mamba2", "plain", "n_groups", int64_t{3}), {"n_groups 3", "num_heads 4"});
  has(refusal("mamba2", "plain", "norm_groups", int64_t{5}), {"norm_groups 5", "32"});
  has(refusal("mamba2", "plain", "dt_max", 0.0), {"dt_max", "dt_min"});
  has(refusal("mamba2", "plain", "norm_eps", 0.0), {"norm_eps"});
  has(refusal("mamba1", "plain", "dt_rank", int64_t{0}), {"dt_rank is 0"});
  has(refusal("mamba1", "norms", "bcdt_norm_eps", -1.0), {"bcdt_norm_eps", "-1"});
  has(refusal("log_linear_attn", "plain", "levels", int64_t{63}), {"levels is 63", "62"});
}

TEST(StateSpace, LogLinearRefusesPositionsWithoutALevel) {
  Made m = made("log_linear_attn", "plain");
  m.about.params.set("levels", int64_t{4});            // tokens 0 to 7
  auto mixer = make_mixer(*m.kind, m.about, at::kDouble);
  EXPECT_NO_THROW(run_mixer(*mixer, random_input(m.about, 8, at::kDouble)));
  EXPECT_THROW(run_mixer(*mixer, random_input(m.about, 9, at::kDouble)), Error);
}

}  // namespace
}  // namespace microtome::testing
