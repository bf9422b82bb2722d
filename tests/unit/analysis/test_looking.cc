// attention, states, dla, logit_lens and head_probes on softmax, linear and hybrid models: against direct computations.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/head_probes/ablate.h"
#include "analysis/head_probes/sequences.h"
#include "analysis/states/measure.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using engine::block_point;
using testing::array_of;
using testing::close;
using testing::run_whole;

const char* const kModels[] = {"hf-gpt2",
                               "hf-llama",
                               "fla-linear_attn-elu-norm",
                               "fla-retnet",
                               "fla-gla-shortconv-gqa",
                               "fla-delta_net-negeig-gate",
                               "fla-gated_deltanet",
                               "fla-gated_deltanet-gva-negeig",
                               "fla-hybrid-gla-attn",
                               "fla-hybrid-gated_deltanet-swa"};

const Model& model_of(const std::string& name) {
  // Never freed: at the end of the process a GPU's allocator may be gone before its tensors.
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& m = models[name];
  if (!m) m = testing::load_test_model(testing::golden_path("golden/models/" + name));
  return *m;
}

// Prompts of two lengths with answers.
Dataset prompts(const Model& model) {
  int64_t vocab = model.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, 12, vocab, 5));
  Dataset longer = testing::dataset_of(testing::random_ids(2, 15, vocab, 6));
  d.pairs.insert(d.pairs.begin() + 1, longer.pairs[0]);
  d.pairs.push_back(longer.pairs[1]);
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9), static_cast<int64_t>(i + 20)};
  }
  return d;
}

at::Tensor ids(const Dataset& d, size_t i) { return at::tensor(d.pairs[i].clean_ids, at::kLong).unsqueeze(0); }

at::Tensor capture(const Model& model, const at::Tensor& tokens, const std::string& name) {
  at::NoGradGuard no_grad;
  HookPlan plan;
  plan.capture(name);
  return model.forward(tokens, plan).cache.get(name);
}

class OnModels : public ::testing::TestWithParam<const char*> {
 protected:
  const Model& model() const { return model_of(GetParam()); }
};

TEST_P(OnModels, AttentionRowsAreTheModelsOwn) {
  Dataset d = prompts(model());
  AnalysisResult result = run_whole("attention", model(), d, {{"max_patterns", "2"}});
  at::Tensor pattern = array_of(result, "pattern");  // prompts 0 (12 tokens) and 1 (15)
  ASSERT_EQ(pattern.size(2), 2);
  ASSERT_EQ(pattern.size(3), 15);
  for (int64_t l = 0; l < engine::layer_count(model()); ++l) {
    at::Tensor own = capture(model(), ids(d, 0), block_point(l, "attn.hook_pattern"))[0];
    at::Tensor kept = pattern[l].select(1, 0).narrow(0, 0, own.size(0));
    EXPECT_TRUE(close(kept.narrow(1, 3, 12).narrow(2, 3, 12), own, 1e-5, 1e-5));
    EXPECT_TRUE(kept.narrow(1, 0, 3).isnan().all().item<bool>());
    double self = 0;
    for (size_t i = 0; i < d.pairs.size(); ++i) {
      at::Tensor a = capture(model(), ids(d, i), block_point(l, "attn.hook_pattern"))[0][0].to(at::kDouble);
      if (model().mixer_info(l).recurrent) a = a.abs() / a.abs().sum(-1, true).clamp_min(1e-30);
      self += a.diagonal().narrow(0, 1, a.size(0) - 1).mean().item<double>() / static_cast<double>(d.pairs.size());
    }
    EXPECT_NEAR(array_of(result, "self")[l][0].item<double>(), self, 1e-5);
    bool has_residual = !std::isnan(array_of(result, "pattern_residual")[l][0].item<double>());
    EXPECT_EQ(has_residual, model().mixer_info(l).recurrent);
    if (has_residual) {
      EXPECT_LT(array_of(result, "pattern_residual")[l][0].item<double>(), 1e-3);
    }
  }
}

TEST_P(OnModels, TheTableIsTheSameWithoutPatterns) {
  Dataset d = prompts(model());
  AnalysisResult whole = run_whole("attention", model(), d, {{"max_patterns", "64"}}), rows = run_whole("attention", model(), d, {{"max_patterns", "0"}});
  for (const char* score : {"entropy", "sink_rate", "first_token", "self", "prev_token", "distance", "negative_share"}) {
    at::Tensor want = array_of(whole, score), got = array_of(rows, score);
    EXPECT_TRUE(want.isnan().equal(got.isnan())) << score;
    EXPECT_TRUE(close(at::nan_to_num(got), at::nan_to_num(want), 2e-5, 2e-5)) << score;
  }
}

TEST_P(OnModels, BatchesChangeNothing) {
  Dataset d = prompts(model());
  for (const char* name : {"attention", "logit_lens", "dla"}) {
    AnalysisResult one = run_whole(name, model(), d, {}, 1), many = run_whole(name, model(), d, {}, 64);
    ASSERT_EQ(one.artifacts.size(), many.artifacts.size());
    for (const Artifact& a : one.artifacts)
      if (const TensorMap* map = std::get_if<TensorMap>(&a))
        for (const NamedArray& array : map->arrays) {
          // Floors: batched products of small matrices differ in the last bits.
          if (array.name == "pattern_residual") continue;
          EXPECT_TRUE(
              close(at::nan_to_num(engine::to_tensor(array)), at::nan_to_num(array_of(many, array.name)), 1e-4, 1e-4))
              << name << " " << array.name;
        }
  }
}

TEST_P(OnModels, DirectAttributionAddsUp) {
  Dataset d = prompts(model());
  AnalysisResult result = run_whole("dla", model(), d, {{"by_source", "true"}});
  at::Tensor heads = array_of(result, "heads");
  at::Tensor sum = at::nansum(heads, {0, 1}) + array_of(result, "mlps").sum(0) + array_of(result, "attn_bias").sum(0) +
                   array_of(result, "embed") + array_of(result, "pos_embed") + array_of(result, "const");
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    at::NoGradGuard no_grad;
    at::Tensor last = model().forward(ids(d, i)).logits[0][-1];
    const PromptPair& p = d.pairs[i];
    double want = (last[p.answer_ids[0]] - (last[p.wrong_ids[0]] + last[p.wrong_ids[1]]) / 2).item<double>();
    EXPECT_NEAR(sum[static_cast<int64_t>(i)].item<double>(), want, 1e-4 * std::max(1.0, std::fabs(want)));
  }
  at::Tensor by_source = array_of(result, "heads_by_source_position");
  for (int64_t l = 0; l < heads.size(0); ++l) {
    bool split = !engine::has_point(model(), l, "attn.hook_z_normalized");
    EXPECT_EQ(by_source[l].isnan().all().item<bool>(), !split);
    if (split) {
      EXPECT_TRUE(close(at::nansum(by_source[l], {2}), heads[l], 1e-4, 1e-3));
    }
  }
}

TEST_P(OnModels, StatesAreTheModelsOwnOrRefused) {
  Dataset d = prompts(model());
  if (engine::most_state_heads(model()) == 0) {
    try {
      run_whole("states", model(), d);
      FAIL() << "a model without states was accepted";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("no recurrent layer"), std::string::npos) << e.what();
    }
    return;
  }
  AnalysisResult result = run_whole("states", model(), d),
                 tail = run_whole("states", model(), d, {{"last_positions", "4"}}, 1);
  for (int64_t l = 0; l < engine::layer_count(model()); ++l) {
    at::Tensor norm = array_of(result, "norm")[l], write = array_of(result, "write_norm")[l];
    if (!model().mixer_info(l).recurrent) {
      EXPECT_TRUE(norm.isnan().all().item<bool>());
      continue;
    }
    for (int64_t i : {0, 1}) {
      at::Tensor s = capture(model(), ids(d, static_cast<size_t>(i)), block_point(l, "attn.hook_state"))[0];
      int64_t t = s.size(0), h = s.size(1);
      at::Tensor mine = norm[i].narrow(0, 15 - t, t).narrow(1, 0, h);
      EXPECT_TRUE(close(mine, s.square().sum({2, 3}).sqrt(), 1e-4, 1e-4));
      at::Tensor w = capture(model(), ids(d, static_cast<size_t>(i)), block_point(l, "attn.hook_state_write"))[0];
      EXPECT_TRUE(close(write[i].narrow(0, 15 - t, t).narrow(1, 0, h), w.square().sum({2, 3}).sqrt(), 1e-4, 1e-4));
    }
    for (const char* name : {"norm", "effective_rank", "erase", "half_life", "read_norm", "transition"}) {
      at::Tensor all = array_of(result, name)[l].narrow(1, 11, 4), last = array_of(tail, name)[l].narrow(1, 11, 4);
      EXPECT_TRUE(close(at::nan_to_num(last, -7), at::nan_to_num(all, -7), 1e-3, 1e-3)) << name << " layer " << l;
      EXPECT_TRUE(array_of(tail, name)[l].narrow(1, 0, 11).isnan().all().item<bool>());
    }
    bool delta = engine::has_point(model(), l, "attn.hook_beta");
    at::Tensor erase = array_of(result, "erase")[l][0][-1];
    EXPECT_EQ(erase[0].item<double>() > 0, delta);
  }
  for (const std::string& w : result.warnings) EXPECT_EQ(w.find("delta rule"), std::string::npos) << w;
}

TEST_P(OnModels, HeadPanel) {
  const Model& m = model();
  AnalysisResult result = run_whole("head_probes", m, Dataset{}, {{"n", "8"}, {"batch", "3"}}, 64, 11);
  AnalysisResult again = run_whole("head_probes", m, Dataset{}, {{"n", "8"}, {"batch", "3"}}, 5, 11);
  at::Tensor copying = array_of(result, "copying"), loss = array_of(result, "ablation_loss");
  EXPECT_TRUE(close(at::nan_to_num(array_of(again, "ablation_loss")), at::nan_to_num(loss), 2e-4, 1e-4));
  EXPECT_TRUE(
      close(at::nan_to_num(array_of(again, "induction")), at::nan_to_num(array_of(result, "induction")), 1e-5, 1e-4));
  EXPECT_LE(at::nan_to_num(copying).abs().max().item<double>(), 1);
  for (int64_t l = 0; l < engine::layer_count(m); ++l) {
    EXPECT_TRUE(std::isfinite(loss[l][0].item<double>()));
    EXPECT_EQ(std::isfinite(array_of(result, "ablation_loss_state")[l][0].item<double>()), m.mixer_info(l).recurrent);
    EXPECT_EQ(std::isfinite(array_of(result, "ablation_loss_conv")[l][0].item<double>()),
              engine::has_point(m, l, "attn.hook_conv_state"));
  }
}

// The resumed, batched ablation against a whole forward pass with the same change written as an intervention.
TEST_P(OnModels, AblationIsTheInterventionsLoss) {
  at::NoGradGuard no_grad;
  const Model& m = model();
  int64_t n = 6, l = engine::layer_count(m) - 1, h = m.mixer_info(l).heads - 1;
  at::Tensor half = testing::random_ids(2, n, m.config().vocab_size, 9);
  analyses::head_probes::Sequences s{at::cat({at::ones({2, 1}, half.options()), half, half}, 1), n, 2, {}};
  Progress progress;
  auto mine = analyses::head_probes::ablate_layer(m, s, l, {false, true, 7, MixerForm::kAuto}, progress);
  auto loss = [&](const HookPlan& plan) {
    return analyses::head_probes::second_half_loss(m.forward(s.tokens, plan).logits.narrow(1, n, n), s.tokens, n);
  };
  at::Tensor base = loss({});
  Intervention zero;
  zero.hook = block_point(l, "attn.hook_z");
  zero.where["head"] = {h};
  HookPlan plan;
  plan.intervene(zero);
  EXPECT_TRUE(close(mine.at("head").select(1, h), loss(plan) - base, 2e-5, 1e-4));
  if (!m.mixer_info(l).recurrent) return;
  // Forgetting: the pattern's off-diagonal is removed one query at a time.
  HookPlan forget;
  forget.edit(block_point(l, "attn.hook_pattern"), [&](const at::Tensor& a, int64_t) {
    at::Tensor out = a.clone();
    for (int64_t q = 1; q < a.size(2); ++q) out.select(1, h).select(1, q).narrow(1, 0, q).zero_();
    return out;
  });
  EXPECT_TRUE(close(mine.at("state").select(1, h), loss(forget) - base, 2e-5, 1e-4));
  if (!engine::has_point(m, l, "attn.hook_conv_state")) return;
  EXPECT_GT(mine.at("conv").abs().max().item<double>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, OnModels, ::testing::ValuesIn(kModels), [](const auto& info) {
  std::string out = info.param;
  for (char& c : out)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return out;
});

// The whole convolution hidden head by head on a model whose heads share nothing: all heads at once is the layer
// without its convolution's past.
TEST(HeadProbes, ConvolutionChannelsAreTheHeads) {
  at::NoGradGuard no_grad;
  const Model& m = model_of("fla-delta_net-negeig-gate");
  int64_t n = 6, l = engine::layer_count(m) - 1;
  ASSERT_TRUE(analyses::head_probes::has_conv_part(m, l));
  at::Tensor half = testing::random_ids(2, n, m.config().vocab_size, 9);
  analyses::head_probes::Sequences s{at::cat({at::ones({2, 1}, half.options()), half, half}, 1), n, 2, {}};
  Progress progress;
  auto mine = analyses::head_probes::ablate_layer(m, s, l, {false, true, 64, MixerForm::kAuto}, progress);
  // z of head 0 with q, k and v of head 0 replaced by what a convolution without past gives; other heads untouched.
  HookPlan blind;
  blind.edit(block_point(l, "attn.hook_conv_state"), [](const at::Tensor& w, int64_t) {
    at::Tensor out = at::zeros_like(w);
    out.select(3, w.size(3) - 1).copy_(w.select(3, w.size(3) - 1));
    return out;
  });
  std::string z_name = block_point(l, "attn.hook_z");
  blind.capture(z_name);
  at::Tensor z_blind = m.forward(s.tokens, blind).cache.get(z_name);
  for (int64_t h = 0; h < m.mixer_info(l).heads; ++h) {
    HookPlan plan;
    plan.edit(z_name, [&](const at::Tensor& z, int64_t) {
      at::Tensor out = z.clone();
      out.select(2, h).copy_(z_blind.select(2, h));
      return out;
    });
    at::Tensor with =
        analyses::head_probes::second_half_loss(m.forward(s.tokens, plan).logits.narrow(1, n, n), s.tokens, n);
    at::Tensor base = analyses::head_probes::second_half_loss(m.forward(s.tokens).logits.narrow(1, n, n), s.tokens, n);
    EXPECT_TRUE(close(mine.at("conv").select(1, h), with - base, 2e-5, 1e-4)) << "head " << h;
  }
}

TEST(HeadProbes, SequencesRepeatAndDoNotDependOnTheirNumber) {
  const Model& m = model_of("hf-gpt2");
  Dataset none;
  AnalysisInput input{m, nullptr, none, {}, 3, MixerForm::kAuto};
  auto a = analyses::head_probes::draw(input, 4, 10, 3, 0), b = analyses::head_probes::draw(input, 2, 10, 3, 0);
  EXPECT_TRUE(at::equal(a.tokens.narrow(0, 0, 2), b.tokens));
  EXPECT_TRUE(at::equal(a.tokens.narrow(1, 1, 10), a.tokens.narrow(1, 21, 10)));
  EXPECT_FALSE(at::equal(a.tokens[0], a.tokens[1]));
  EXPECT_TRUE((a.tokens.select(1, 0) == 1).all().item<bool>()) << "the start token of config.json";
  EXPECT_FALSE((a.tokens.narrow(1, 1, 30) <= 2).any().item<bool>()) << "start, end and padding tokens are not drawn";
  for (int64_t r = 0; r < 4; ++r) {
    std::set<int64_t> seen;
    for (int64_t t = 1; t <= 10; ++t) seen.insert(a.tokens[r][t].item<int64_t>());
    EXPECT_EQ(seen.size(), 10u);
  }
  EXPECT_THROW(run_whole("head_probes", m, none, {{"n", "40"}}), Error) << "81 positions of 64";
  Dataset odd = testing::dataset_of(testing::random_ids(1, 9, 90, 1));
  EXPECT_THROW(run_whole("head_probes", m, odd, {{"tokens", "dataset"}}), Error);
}

TEST(States, MeasuresByHand) {
  // One head, d_k = d_v = 2: S_0 = 0; token 0 writes k=(1,0), v=(2,0), β=1; token 1 the same key, v=(0,4), β=1.5, decay
  // 1/2.
  auto row = [](std::vector<double> v, std::vector<int64_t> shape) { return at::tensor(v, at::kDouble).view(shape); };
  analyses::states::Span s;
  s.before = at::zeros({1, 1, 2, 2}, at::TensorOptions().dtype(at::kDouble));
  s.k = row({1, 0, 1, 0}, {1, 2, 1, 2});
  s.v = row({2, 0, 0, 4}, {1, 2, 1, 2});
  s.beta = row({1, 1.5}, {1, 2, 1});
  s.decay = row({0, -std::log(2.0)}, {1, 2, 1, 1});
  // S_0 = (2 0; 0 0); S' = (1 0; 0 0); write = 1.5 k (v - (1, 0)) = (-1.5, 6); S_1 = (-0.5, 6).
  s.write = row({2, 0, 0, 0, -1.5, 6, 0, 0}, {1, 2, 1, 2, 2});
  s.state = row({2, 0, 0, 0, -0.5, 6, 0, 0}, {1, 2, 1, 2, 2});
  s.z = row({3, 4, 0, 1}, {1, 2, 1, 2});
  double off = 1;
  auto m = analyses::states::measure(s, 3, off);
  EXPECT_LT(off, 1e-12);
  auto at_token = [&](const char* name, int64_t t) { return m.at(name)[0][t][0].item<double>(); };
  EXPECT_NEAR(at_token("norm", 1), std::sqrt(36.25), 1e-9);
  EXPECT_NEAR(at_token("effective_rank", 1), 1, 1e-6);
  EXPECT_NEAR(at_token("erase", 0), 0, 1e-9);
  EXPECT_NEAR(at_token("erase", 1), 1.0 / 5, 1e-9);
  EXPECT_TRUE(std::isnan(at_token("half_life", 0)));
  EXPECT_NEAR(at_token("half_life", 1), 1, 1e-9);
  EXPECT_NEAR(at_token("transition", 0), 0, 1e-9);
  EXPECT_NEAR(at_token("transition", 1), -0.25, 1e-9);
  EXPECT_NEAR(at_token("read_norm", 0), 5, 1e-9);
  EXPECT_NEAR(m.at("singular_values")[0][1][0][0].item<double>(), std::sqrt(36.25), 1e-9);
  EXPECT_TRUE(std::isnan(m.at("singular_values")[0][1][0][2].item<double>()));
  s.write = s.write * 1.1;
  EXPECT_TRUE(analyses::states::measure(s, 1, off).at("erase").isnan().all().item<bool>()) << "not a delta rule";
  s.beta = at::Tensor();
  auto additive = analyses::states::measure(s, 1, off);
  EXPECT_EQ(additive.at("erase").sum().item<double>(), 0);
  EXPECT_NEAR(additive.at("transition")[0][1][0].item<double>(), 0.5, 1e-9);
}

TEST(LogitLens, LastRowIsTheModelAndAnswersRank) {
  const Model& m = model_of("fla-hybrid-gla-attn");
  Dataset d = prompts(m);
  AnalysisResult result = run_whole("logit_lens", m, d);
  at::Tensor rank = array_of(result, "rank"), kl = array_of(result, "kl"), top = array_of(result, "logits_top");
  int64_t last = kl.size(0) - 1;
  EXPECT_LT(at::nan_to_num(kl[last]).abs().max().item<double>(), 1e-9);
  for (int64_t i = 0; i < static_cast<int64_t>(d.pairs.size()); ++i) {
    at::NoGradGuard no_grad;
    at::Tensor logits = m.forward(ids(d, static_cast<size_t>(i))).logits[0][-1];
    int64_t answer = d.pairs[static_cast<size_t>(i)].answer_ids[0];
    EXPECT_EQ(rank[last][i][14].item<double>(), static_cast<double>((logits > logits[answer]).sum().item<int64_t>()));
    EXPECT_EQ(top[last][i][14].item<double>(), static_cast<double>(logits.argmax().item<int64_t>()));
  }
}

}  // namespace
}  // namespace microtome
