// attention_calibration: the rule and the change against loops written out, effects against whole runs with patched patterns.
#include <gtest/gtest.h>

#include "analysis/attention_calibration/sinks.h"
#include "analysis/engine/layers.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using analyses::calibrate;
using analyses::find_sinks;
using analyses::SinkRule;
using engine::block_point;
using testing::array_of;
using testing::close;
using testing::run_whole;

at::Tensor ids(const std::vector<int64_t>& v) { return at::tensor(v, at::kLong).unsqueeze(0); }

TEST(AttentionSinks, AreFoundByTheRule) {
  // Six queries: 0.5 on position 0 in head 0; head 1 puts 0.9 on position 1, head 2 is even.
  at::Tensor a = at::zeros({1, 3, 6, 6}, at::kDouble);
  for (int64_t q = 0; q < 6; ++q) {
    for (int64_t k = 0; k <= q; ++k) {
      a[0][0][q][k] = q == 0 ? 1.0 : k == 0 ? 0.5 : 0.5 / static_cast<double>(q);
      a[0][1][q][k] = q < 2 ? 1.0 / static_cast<double>(q + 1) : k == 1 ? 0.9 : 0.1 / static_cast<double>(q);
      a[0][2][q][k] = 1.0 / static_cast<double>(q + 1);
    }
  }
  SinkRule rule{true, 0.5, 3, 4};
  auto s = find_sinks(a, false, rule);
  // Head 0: mean mass on position 0 = (1 + 5 * 0.5) / 6 = 0.583; head 2: H(6) / 6 = 0.408. Head 1, position 1: 0.9 against
  // 3 (1/3 + 1/4 + 1/5 + 1/6) / 4 = 0.7125.
  at::Tensor want = at::zeros({1, 3, 6}, at::kBool);
  want[0][0][0] = true;
  want[0][1][1] = true;
  EXPECT_TRUE(s.is_sink.equal(want));
  EXPECT_NEAR(s.mass[0][0].item<double>(), 3.5 / 6, 1e-12);
  EXPECT_NEAR(s.mass[0][1].item<double>(), (0.5 + 4 * 0.9) / 6, 1e-12);
  EXPECT_NEAR(s.mass[0][2].item<double>(), 0, 1e-12);
  rule.min_queries = 5;
  rule.first = false;
  EXPECT_FALSE(find_sinks(a, false, rule).is_sink.any().item<bool>());
}

TEST(AttentionSinks, RowsKeepTheirSum) {
  at::Tensor a = at::softmax(at::randn({2, 2, 5, 5}, at::kDouble) * 2, -1).tril();
  at::Tensor sink = at::zeros({2, 2, 5}, at::kBool);
  sink.select(2, 0).fill_(true);
  sink[1][0][2] = true;
  for (double f : {0.0, 0.4, 3.0}) {
    at::Tensor b = calibrate(a, sink, f, true);
    EXPECT_TRUE(close(b.sum(-1), a.sum(-1), 1e-12, 0));
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t h = 0; h < 2; ++h)
        for (int64_t q = 0; q < 5; ++q) {
          double on = 0, whole = 0;
          for (int64_t k = 0; k <= q; ++k) {
            whole += a[i][h][q][k].item<double>();
            if (sink[i][h][k].item<bool>()) on += a[i][h][q][k].item<double>();
          }
          bool alone = whole - on < 1e-12;
          double wanted = alone ? on : std::min(f * on, whole);
          for (int64_t k = 0; k <= q; ++k) {
            double x = a[i][h][q][k].item<double>();
            double want = sink[i][h][k].item<bool>() ? x * wanted / on : x * (whole - wanted) / (alone ? 1 : whole - on);
            EXPECT_NEAR(b[i][h][q][k].item<double>(), want, 1e-12) << f << " " << q << " " << k;
          }
        }
  }
  at::Tensor plain = calibrate(a, sink, 0.25, false);
  EXPECT_TRUE(close(plain.select(3, 0), 0.25 * a.select(3, 0), 1e-12, 0));
  EXPECT_TRUE(plain.select(3, 4).equal(a.select(3, 4)));
}

class Calibration : public ::testing::TestWithParam<const char*> {};

TEST_P(Calibration, EffectsAreThoseOfWholeRuns) {
  std::unique_ptr<Model> m = testing::load_test_model(testing::golden_path("golden/models/" + std::string(GetParam())), at::kDouble);
  Dataset d = testing::dataset_of(testing::random_ids(3, 9, m->config().vocab_size, 5));
  for (size_t i = 0; i < 3; ++i) {
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9)};
  }
  // A low bar, so that random heads have sinks.
  AnalysisResult r = run_whole("attention_calibration", *m, d, {{"epsilon", "0.05"}, {"multiple", "1.2"}, {"min_queries", "2"}, {"factor", "0.25"}, {"metric", "logit_diff"}}, 5);
  SinkRule rule{true, 0.05, 1.2, 2};
  at::Tensor value = array_of(r, "value_prompts"), all = array_of(r, "all");
  int64_t layers = engine::layer_count(*m), changed = 0;
  for (int64_t i = 0; i < 3; ++i) {
    const PromptPair& p = d.pairs[static_cast<size_t>(i)];
    auto difference = [&](const HookPlan& plan) {
      at::Tensor y = m->forward(ids(p.clean_ids), plan).logits[0][8];
      return (y[p.answer_ids[0]] - y[p.wrong_ids[0]]).item<double>();
    };
    HookPlan patterns;
    for (int64_t l = 0; l < layers; ++l) patterns.capture(block_point(l, "attn.hook_pattern"));
    ActivationCache cache = m->forward(ids(p.clean_ids), patterns).cache;
    HookPlan together;
    for (int64_t l = 0; l < layers; ++l) {
      std::string name = block_point(l, "attn.hook_pattern");
      bool recurrent = m->mixer_info(l).recurrent;
      at::Tensor sinks = find_sinks(cache.get(name), recurrent, rule).is_sink;
      together.edit(name, [=](const at::Tensor& v, int64_t) { return calibrate(v, sinks, 0.25, !recurrent); });
      for (int64_t h = 0; h < sinks.size(1); ++h) {
        HookPlan one;
        one.edit(name, [=](const at::Tensor& v, int64_t) {
          at::Tensor out = v.clone();
          out.select(1, h).copy_(calibrate(v, sinks, 0.25, !recurrent).select(1, h));
          return out;
        });
        EXPECT_NEAR(value[l][h][i].item<double>(), difference(one), 2e-6) << i << " " << l << "." << h;
        changed += sinks[0][h].any().item<bool>();
      }
    }
    EXPECT_NEAR(all[i].item<double>(), difference(together) - difference({}), 2e-6);
  }
  EXPECT_GT(changed, 5);
  bool linear = false;
  for (const std::string& w : r.warnings) linear = linear || w.find("need not sum to 1") != std::string::npos;
  bool has = false;
  for (int64_t l = 0; l < layers; ++l) has = has || m->mixer_info(l).recurrent;
  EXPECT_EQ(linear, has);
}
INSTANTIATE_TEST_SUITE_P(Models, Calibration, ::testing::Values("hf-gpt2", "hf-llama", "fla-hybrid-gated_deltanet-swa", "fla-gated_deltaproduct"), [](const auto& i) {
  std::string n = i.param;
  std::replace(n.begin(), n.end(), '-', '_');
  return n;
});

TEST(CalibrationInput, HeadsAreChosen) {
  std::unique_ptr<Model> m = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  Dataset d = testing::dataset_of(testing::random_ids(2, 9, m->config().vocab_size, 5));
  AnalysisResult r = run_whole("attention_calibration", *m, d, {{"heads", "1.0"}, {"epsilon", "0"}, {"metric", "loss"}});
  at::Tensor effect = array_of(r, "effect");
  EXPECT_TRUE(at::isnan(effect[0]).all().item<bool>());
  EXPECT_NEAR(effect[1][0].item<double>(), array_of(r, "all").mean().item<double>(), 1e-6);
  EXPECT_GT(std::abs(effect[1][0].item<double>()), 1e-6);
  EXPECT_THROW(run_whole("attention_calibration", *m, d, {{"heads", "m0"}, {"metric", "loss"}}), Error);
  EXPECT_THROW(run_whole("attention_calibration", *m, d, {{"heads", ""}, {"metric", "loss"}}), Error);
}

// A mixture of memories has more patterns than heads: its layers are left out by name, and with no other there is an error.
TEST(CalibrationInput, PatternsThatAreNotByHeadsAreLeftOut) {
  std::unique_ptr<Model> m = testing::load_test_model(testing::golden_path("golden/models/tiny-mom"));
  Dataset d = testing::dataset_of(testing::random_ids(2, 9, m->config().vocab_size, 5));
  bool any = false;
  for (int64_t l = 0; l < engine::layer_count(*m); ++l)
    any = any || m->catalogue().find(block_point(l, "attn.hook_pattern"))->sizes[1] == m->mixer_info(l).heads;
  try {
    AnalysisResult r = run_whole("attention_calibration", *m, d, {{"metric", "loss"}});
    EXPECT_TRUE(any);
    bool told = false;
    for (const std::string& w : r.warnings) told = told || w.find("left out") != std::string::npos;
    EXPECT_TRUE(told);
  } catch (const Error& e) {
    EXPECT_FALSE(any);
    EXPECT_NE(std::string(e.what()).find("none of the chosen heads"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace microtome
