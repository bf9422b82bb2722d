// The derivative at every hook point of whole models against central differences, in float64; and what a run leaves alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::golden_path;

at::Tensor tokens(int64_t vocab = 97) {
  return at::arange(2 * 6, at::kLong).mul(17).add(5).remainder(vocab).view({2, 6});
}

// A smooth number that every logit enters.
at::Tensor measure(const at::Tensor& logits) {
  at::Tensor w = at::sin(at::arange(logits.numel(), at::kDouble) * 1.7).view(logits.sizes()).to(logits.device());
  return (logits * w).sum();
}

class EveryPoint : public ::testing::TestWithParam<const char*> {
  void SetUp() override {
    if (testing::lies_elsewhere(GetParam())) GTEST_SKIP() << "only the whole reference folder has it (MICROTOME_GOLDEN)";
  }
};

TEST_P(EveryPoint, GradientEqualsCentralDifference) {
  auto model = testing::load_test_model(golden_path(GetParam()), at::kDouble);
  at::Tensor ids = tokens(model->config().vocab_size);
  int checked = 0;
  for (const HookPoint& p : model->catalogue().points()) {
    if (p.name.find("hook_pattern_") != std::string::npos) continue;   // figures beside the run, not on its path
    SCOPED_TRACE(p.name);
    HookPlan plan;
    plan.form = MixerForm::kNaive;
    plan.capture(p.name, {}, true);
    ForwardResult r = model->forward(ids, plan);
    at::Tensor value = r.cache.get(p.name);
    ASSERT_EQ(value.dim(), static_cast<int64_t>(p.axes.size()));
    for (size_t a = 0; a < p.sizes.size(); ++a)
      if (p.sizes[a] >= 0) {
        EXPECT_EQ(value.size(static_cast<int64_t>(a)), p.sizes[a]) << p.axes[a];
      }
    at::Tensor gradient = hook_gradients(measure(r.logits), r.cache, {p.name}).at(p.name);
    at::Tensor direction = at::cos(at::arange(value.numel(), at::kDouble) * 2.3).view(value.sizes()).to(value.device());
    // Scores above the diagonal are -inf and stay so.
    direction = at::where(at::isfinite(value), direction, at::zeros_like(direction));
    double analytic = (at::nan_to_num(gradient) * direction).sum().item<double>();
    auto at_step = [&](double h) {
      HookPlan moved;
      moved.form = MixerForm::kNaive;
      moved.edit(p.name, [&](const at::Tensor& v, int64_t first) {
        at::Tensor d = v.size(1) == direction.size(1) ? direction : direction.slice(1, first, first + v.size(1));
        return v + d * h;
      });
      return measure(model->forward(ids, moved).logits).item<double>();
    };
    // A norm over a small read-out curves strongly: the best of some steps counts, each extrapolated from its half.
    double best = 1e300, nearest = 0;
    for (double h : {1e-4, 1e-5, 1e-6, 1e-7}) {
      double whole = (at_step(h) - at_step(-h)) / (2 * h), half = (at_step(h / 2) - at_step(-h / 2)) / h;
      double numeric = (4 * half - whole) / 3, error = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
      if (error < best) best = error, nearest = numeric;
      if (best < 1e-6) break;
    }
    EXPECT_LT(best, 1e-5) << "gradient " << analytic << ", central difference " << nearest;
    ++checked;
  }
  EXPECT_GT(checked, 25);
}

// Points that hold the same tensor (the stream and what an MLP reads of it) must not take each other's derivative.
TEST_P(EveryPoint, TogetherTheyHaveTheGradientsTheyHaveAlone) {
  auto model = testing::load_test_model(golden_path(GetParam()), at::kDouble);
  at::Tensor ids = tokens(model->config().vocab_size);
  std::vector<std::string> names;
  for (const HookPoint& p : model->catalogue().points())
    for (const char* end : {"hook_resid_pre", "hook_resid_mid", "hook_mixer_in", "hook_mlp_in", "_input", "hook_attn_out", "hook_mlp_out"})
      if (p.name.size() >= std::string(end).size() && p.name.compare(p.name.size() - std::string(end).size(), std::string::npos, end) == 0) names.push_back(p.name);
  ASSERT_GT(names.size(), 3u);
  auto gradients = [&](const std::vector<std::string>& which) {
    HookPlan plan;
    plan.form = MixerForm::kNaive;
    for (const std::string& n : which) plan.capture(n, {}, true);
    ForwardResult r = model->forward(ids, plan);
    return hook_gradients(measure(r.logits), r.cache, which);
  };
  std::map<std::string, at::Tensor> together = gradients(names);
  for (const std::string& n : names) {
    // Alone, a role's input is also what a short convolution takes from earlier tokens; together these have a point of their own.
    at::Tensor want = together.at(n);
    if (n.size() > 8 && n.compare(n.size() - 6, 6, "_input") == 0 && n.find("_conv_") == std::string::npos)
      if (auto early = together.find(n.substr(0, n.size() - 6) + "_conv_input"); early != together.end()) want = want + early->second;
    EXPECT_TRUE(testing::close(want, gradients({n}).at(n), 1e-9, 1e-7)) << n;
  }
}

TEST_P(EveryPoint, ReadingChangesNothingAndPutsBackTheSame) {
  auto model = testing::load_test_model(golden_path(GetParam()), at::kDouble);
  at::Tensor ids = tokens(model->config().vocab_size), plain = model->forward(ids).logits;
  for (const HookPoint& p : model->catalogue().points()) {
    HookPlan read, same;
    read.capture(p.name);
    ForwardResult r = model->forward(ids, read);
    EXPECT_TRUE(testing::close(r.logits, plain, 1e-9, 1e-9)) << p.name;
    if (p.name.find("hook_pattern_") != std::string::npos) continue;
    same.edit(p.name, [](const at::Tensor& v, int64_t) { return v.clone(); });
    EXPECT_TRUE(testing::close(model->forward(ids, same).logits, plain, 1e-8, 1e-8)) << p.name;
    EXPECT_EQ(r.cache.about(p.name).axes, p.axes);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryPoint,
                         ::testing::Values("golden/models/hf-gpt2", "golden/models/hf-llama", "golden/models/fla-linear_attn-elu-norm",
                                           "golden/models/fla-retnet", "golden/models/fla-gla-shortconv-gqa",
                                           "golden/models/fla-delta_net-negeig-gate", "golden/models/fla-gated_deltanet-gva-negeig",
                                           "golden/models/fla-hybrid-gla-attn", "golden/models/fla-gated_deltaproduct",
                                           "golden/models/fla-rwkv7", "golden/models/fla-rwkv6", "golden/models/hf-rwkv",
                                           "golden/models/fla-mesa_net", "golden/models/fla-forgetting_transformer",
                                           "golden/models/tiny-gemma2", "golden/models/tiny-olmo2", "golden/models/tiny-phi-qknorm",
                                           "golden/models/hf-bert", "golden/models/induction-2l-attn-only", "golden/models/tiny-qwen3_next-moe",
                                           "golden/models/tiny-kimi_linear-moe", "golden/models/tiny-olmo_hybrid",
                                           "golden/models/tiny-minimax-scaled", "golden/models/tiny-recurrent_gemma", "golden/models/tiny-xlstm",
                                           "golden/models/fla-mamba", "golden/models/hf-mamba2", "golden/models/hf-falcon_mamba",
                                           "golden/models/fla-samba", "golden/models/fla-log_linear_mamba2",
                                           "golden/models/fla-hgrn", "golden/models/fla-hgrn2", "golden/models/fla-gsa",
                                           "golden/models/fla-abc", "golden/models/tiny-jamba-moe",
                                           "golden/models/tiny-bamba-rope", "golden/models/tiny-falcon_h1-mup",
                                           "golden/models/tiny-zamba2", "golden/models/tiny-mom"),
                         [](const auto& i) {
                           std::string n = std::string(i.param).substr(std::string(i.param).rfind('/') + 1);
                           std::replace(n.begin(), n.end(), '-', '_');
                           return n;
                         });

TEST(ModelRun, OnlyTheLogitsThatAreReadAreGiven) {
  auto model = testing::load_test_model(golden_path("golden/models/fla-hybrid-gated_deltanet-swa"));
  at::Tensor ids = tokens(), all = model->forward(ids).logits;
  HookPlan plan;
  plan.logit_positions = std::vector<int64_t>{1, -1};
  at::Tensor some = model->forward(ids, plan).logits;
  EXPECT_TRUE(testing::close(some.select(1, 0), all.select(1, 1), 1e-5, 1e-5));
  EXPECT_TRUE(testing::close(some.select(1, 1), all.select(1, 5), 1e-5, 1e-5));
  // With a point of the last block asked for, nothing of it may be left out.
  plan.capture("blocks.1.attn.hook_z").capture("unembed.hook_out");
  ForwardResult r = model->forward(ids, plan);
  EXPECT_EQ(r.cache.get("blocks.1.attn.hook_z").size(1), 6);
  EXPECT_EQ(r.cache.get("unembed.hook_out").size(1), 6);
  EXPECT_TRUE(testing::close(r.logits, some, 1e-5, 1e-5));
}

TEST(ModelRun, StatesAtChosenPositionsAreThoseOfAllPositions) {
  auto model = testing::load_test_model(golden_path("golden/models/fla-gated_deltanet"));
  HookPlan few, all;
  few.capture("blocks.0.attn.hook_state", {1, -2});
  all.capture("blocks.0.attn.hook_state");
  ForwardResult a = model->forward(tokens(), few), b = model->forward(tokens(), all);
  at::Tensor some = a.cache.get("blocks.0.attn.hook_state"), every = b.cache.get("blocks.0.attn.hook_state");
  ASSERT_EQ(some.size(1), 2);
  EXPECT_EQ(a.cache.about("blocks.0.attn.hook_state").positions, (std::vector<int64_t>{1, 4}));
  EXPECT_TRUE(testing::close(some.select(1, 0), every.select(1, 1), 1e-5, 1e-5));
  EXPECT_TRUE(testing::close(some.select(1, 1), every.select(1, 4), 1e-5, 1e-5));
}

}  // namespace
}  // namespace microtome
