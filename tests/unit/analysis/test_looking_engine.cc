// Prompts, metrics, arrays and the layer walk that the analyses stand on.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/engine/prompts.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using testing::close;

const double kNaN = std::numeric_limits<double>::quiet_NaN();

const Model& gpt2() {
  // Never freed: at the end of the process a GPU's allocator may be gone before its tensors.
  static const Model* model = testing::load_test_model(testing::golden_path("golden/models/hf-gpt2")).release();
  return *model;
}

Dataset three_prompts() {
  Dataset d;
  d.name = "three";
  d.pairs.resize(3);
  d.pairs[0] = {{}, {}, {}, {}, {1, 5, 6, 7}, {1, 5, 9, 7}, {10, 11}, {12}, {}, {}, 1};
  d.pairs[1] = {{}, {}, {}, {}, {1, 8}, {1, 9}, {3}, {4, 5}, {}, {}, 2};
  d.pairs[2] = {{}, {}, {}, {}, {1, 5, 8, 7}, {1, 5, 8, 9}, {2}, {6}, {}, {}, 3};
  return d;
}

AnalysisInput input_of(const Dataset& d) { return {gpt2(), nullptr, d, {}, 0, MixerForm::kAuto}; }

std::string complaint(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Prompts, GroupsByLengthAndKeepOrder) {
  Dataset d = three_prompts();
  AnalysisInput input = input_of(d);
  auto groups = engine::group_prompts(input, true);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].length, 2);
  EXPECT_EQ(groups[1].prompts, (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(groups[1].first_difference, 2);
  EXPECT_EQ(groups[1].clean[1][2].item<int64_t>(), 8);
  EXPECT_EQ(groups[1].corrupted[1][3].item<int64_t>(), 9);
  EXPECT_EQ(engine::longest(groups), 4);
  EXPECT_EQ(engine::group_prompts(input, false, 1).size(), 3u);
  // Aligned at the end: last column 7, 8, 7; the one before 6, 1, 8; then 5 twice; the first only has the start token.
  EXPECT_EQ(engine::position_labels(input, groups), (std::vector<std::string>{"#1", "#5", "-2", "-1"}));
}

TEST(Prompts, ComplaintsNameTheLine) {
  Dataset d = three_prompts();
  AnalysisInfo info;
  info.name = "probe";
  d.pairs[2].corrupted_ids.pop_back();
  EXPECT_NE(complaint([&] { engine::require_prompts(input_of(d), info, false); }).find("line 3"), std::string::npos);
  EXPECT_NE(complaint([&] { engine::group_prompts(input_of(d), true); }).find("line 3"), std::string::npos);
  d = three_prompts();
  d.pairs[1].answer_ids.clear();
  EXPECT_NE(complaint([&] { engine::require_prompts(input_of(d), info, true); }).find("line 2"), std::string::npos);
  d = three_prompts();
  d.pairs[0].clean_ids[1] = 97;
  EXPECT_NE(complaint([&] { engine::require_prompts(input_of(d), info, false); }).find("97"), std::string::npos);
  d.pairs.clear();
  EXPECT_NE(complaint([&] { engine::require_prompts(input_of(d), info, false); }).find("needs prompts"),
            std::string::npos);
}

TEST(Metrics, ByHand) {
  Dataset d = three_prompts();
  AnalysisInput input = input_of(d);
  engine::PromptGroup g = engine::group_prompts(input, false)[1];  // prompts 0 and 2
  at::Tensor logits = at::arange(4 * 20, at::TensorOptions().dtype(at::kFloat).device(gpt2().device())).view({4, 20}).remainder(7);
  at::Tensor p = at::softmax(logits.to(at::kDouble), -1);
  at::Tensor diff = engine::Metric("logit_diff", input, g).last(logits),
             gt = engine::Metric("greater_than", input, g).last(logits);
  at::Tensor lp = engine::Metric("answer_logprob", input, g).last(logits);
  for (int64_t row : {0, 2}) {  // copies × prompts, prompt fastest
    EXPECT_NEAR(diff[row].item<double>(), ((logits[row][10] + logits[row][11]) / 2 - logits[row][12]).item<double>(),
                1e-6);
    EXPECT_NEAR(diff[row + 1].item<double>(), (logits[row + 1][2] - logits[row + 1][6]).item<double>(), 1e-6);
    EXPECT_NEAR(gt[row].item<double>(), (p[row][10] + p[row][11] - p[row][12]).item<double>(), 1e-6);
    EXPECT_NEAR(lp[row].item<double>(), (p[row][10] + p[row][11]).log().item<double>(), 1e-6);
    EXPECT_NEAR(lp[row + 1].item<double>(), p[row + 1][2].log().item<double>(), 1e-6);
  }
  engine::Metric kl("kl", input, g);
  EXPECT_NE(complaint([&] { kl.last(logits); }), "");
  kl.set_reference(logits.narrow(0, 0, 2));
  EXPECT_TRUE(close(kl.last(logits).narrow(0, 0, 2), at::zeros({2}), 1e-9, 0));
  EXPECT_GT(kl.last(logits)[2].item<double>(), 0);
  EXPECT_TRUE(close(engine::kl_divergence(logits.narrow(0, 0, 2), logits.narrow(0, 2, 2)),
                    kl.last(logits).narrow(0, 2, 2), 1e-9, 0));
  EXPECT_NE(complaint([&] { engine::Metric("logits_diff", input, g); }).find("answer_logprob"), std::string::npos);
  EXPECT_EQ(engine::metric_name(input, "auto"), "logit_diff");
}

TEST(Metrics, NeedWhatTheyNeed) {
  Dataset d = three_prompts();
  d.pairs[2].wrong_ids.clear();
  AnalysisInput input = input_of(d);
  engine::PromptGroup g = engine::group_prompts(input, false)[1];
  EXPECT_NE(complaint([&] { engine::Metric("logit_diff", input, g); }).find("line 3"), std::string::npos);
  EXPECT_EQ(complaint([&] { engine::Metric("answer_logprob", input, g); }), "");
}

TEST(Metrics, LossIsCrossEntropyAndDifferentiable) {
  at::Tensor logits = at::randn({2, 3, 11}).requires_grad_(true), tokens = testing::random_ids(2, 6, 11, 1);
  at::Tensor losses = engine::Metric::token_losses(logits, tokens, 2);  // positions 2, 3, 4
  ASSERT_EQ(losses.sizes(), at::IntArrayRef({2, 3}));
  at::Tensor want =
      -at::log_softmax(logits.detach().to(at::kDouble), -1).gather(2, tokens.narrow(1, 3, 3).unsqueeze(2)).squeeze(2);
  EXPECT_TRUE(close(losses, want, 1e-6, 1e-6));
  EXPECT_EQ(engine::Metric::token_losses(logits, tokens, 4).size(1), 1) << "the last token has no next one";
  std::vector<at::Tensor> grad = hook_autograd(losses.sum(), {logits}, false);
  at::Tensor probabilities = at::softmax(logits.detach(), -1);
  EXPECT_NEAR(grad[0].sum().item<double>(), 0, 1e-5);
  EXPECT_GT(grad[0].abs().max().item<double>(), 0.1);
}

TEST(Arrays, ToAndFro) {
  at::Tensor t = at::randn({2, 3}).t();
  EXPECT_TRUE(at::equal(engine::to_tensor(engine::to_array("a", {"x", "y"}, t)), t));
  at::Tensor ids = at::arange(4, at::TensorOptions().dtype(at::kLong));
  EXPECT_TRUE(at::equal(engine::to_tensor(engine::to_array("b", {"x"}, ids)), ids));
  EXPECT_NE(complaint([&] { engine::to_array("a", {"x"}, t); }), "");
  at::Tensor holes = at::tensor(std::vector<double>{1, kNaN, 3, kNaN, kNaN, kNaN}).view({2, 3});
  at::Tensor mean = engine::nan_mean(holes, 1);
  EXPECT_EQ(mean[0].item<double>(), 2);
  EXPECT_TRUE(std::isnan(mean[1].item<double>()));
}

TEST(Arrays, BootstrapInterval) {
  std::vector<double> values;
  for (int i = 0; i < 100; ++i) values.push_back(i % 10);
  SummaryItem s = engine::summarise("x", values, "", "", 7);
  EXPECT_DOUBLE_EQ(s.value, 4.5);
  EXPECT_EQ(s.n, 100);
  // The standard error is 2.87 / 10.
  EXPECT_NEAR(s.low, 4.5 - 1.96 * 0.287, 0.1);
  EXPECT_NEAR(s.high, 4.5 + 1.96 * 0.287, 0.1);
  EXPECT_EQ(s.low, engine::summarise("x", values, "", "", 7).low);
  SummaryItem one = engine::summarise("x", {3.0, kNaN}, "", "", 7);
  EXPECT_EQ(one.n, 1);
  EXPECT_TRUE(std::isnan(one.low));
}

TEST(LayerWalk, SpansGiveTheSamePatternsAndResidual) {
  at::NoGradGuard no_grad;
  for (const char* folder : {"golden/models/hf-gpt2", "golden/models/fla-hybrid-gated_deltanet-swa"}) {
    auto model = testing::load_test_model(testing::golden_path(folder));
    at::Tensor tokens = testing::random_ids(2, 13, model->config().vocab_size, 3);
    auto walk = [&](int64_t span, std::vector<at::Tensor>& patterns) {
      return engine::stream_layers(
          *model, tokens, MixerForm::kAuto, span,
          [](int64_t) {
            return std::vector<engine::WantedPoint>{{"attn.hook_pattern", {}}};
          },
          [&](int64_t l, int64_t first, const ActivationCache& cache) {
            if (first == 0) patterns.push_back(at::zeros({2, model->mixer_info(l).heads, 13, 13}));
            at::Tensor a = cache.get(engine::block_point(l, "attn.hook_pattern"));
            patterns.back().narrow(2, first, a.size(2)).narrow(3, 0, a.size(3)).copy_(a);
          });
    };
    std::vector<at::Tensor> whole, spans;
    at::Tensor a = walk(0, whole), b = walk(5, spans);
    EXPECT_TRUE(close(b, a, 1e-5, 1e-5)) << folder;
    ASSERT_EQ(whole.size(), spans.size());
    for (size_t l = 0; l < whole.size(); ++l)
      EXPECT_TRUE(close(spans[l], whole[l], 1e-5, 1e-5)) << folder << " layer " << l;
    EXPECT_TRUE(
        close(engine::unembed(*model, a.select(1, 12)), model->forward(tokens).logits.select(1, 12), 1e-5, 1e-5));
  }
}

TEST(LayerWalk, MassAndOffsets) {
  at::Tensor a = at::tensor(std::vector<float>{2, 0, 0, -1, 3, 0, 0, 0, 0}).view({1, 1, 3, 3});
  at::Tensor m = engine::attention_mass(a, true, 3);
  EXPECT_TRUE(
      close(m.view({3, 3}), at::tensor(std::vector<double>{1, 0, 0, .25, .75, 0, 0, 0, 0}).view({3, 3}), 1e-6, 0));
  EXPECT_TRUE(close(engine::at_offset(m, 0, 1).view({3}), at::tensor(std::vector<double>{0, .25, 0}), 1e-6, 0));
  at::Tensor later = m.narrow(2, 1, 2);
  EXPECT_TRUE(close(engine::at_offset(later, 1, 0).view({2}), at::tensor(std::vector<double>{.75, 0}), 1e-6, 0));
}

}  // namespace
}  // namespace microtome
