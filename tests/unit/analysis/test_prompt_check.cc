// prompt_check: numbers counted by hand, models that do their task and one that does not, prompts that are all alike.
#include <gtest/gtest.h>

#include <cmath>

#include "analysis/engine/prompt_check.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"
#include "tests/unit/analysis/known_circuits.h"

namespace microtome::engine {
namespace {

PromptCheck check(const Model& m, const Dataset& d, const std::string& metric = "auto", int64_t most = 32) {
  AnalysisInput input{m, nullptr, d, Params(), 0, MixerForm::kAuto};
  return check_prompts(input, metric, most);
}

TEST(PromptCheck, SaysNothingOfATaskThatIsDone) {
  for (const testing::KnownCircuit& k : {testing::known_induction("induction", 6), testing::known_memory()}) {
    const PromptCheck c = check(*k.model, k.data, "kl");       // by the task's own metric
    EXPECT_GT(c.accuracy, 0.9) << k.name;
    EXPECT_GT(c.separation, 0.9) << k.name;
    EXPECT_TRUE(check_warnings(c).empty()) << k.name << ": " << check_warnings(c)[0];
  }
}

TEST(PromptCheck, AnswersTheWrongWayRoundAreAFailedTask) {
  testing::KnownCircuit k = testing::known_induction("induction", 6);
  for (PromptPair& p : k.data.pairs) {
    ASSERT_FALSE(p.wrong_ids.empty());
    std::swap(p.answer_ids, p.wrong_ids);
  }
  const PromptCheck c = check(*k.model, k.data);
  EXPECT_LT(c.accuracy, 0.1);
  const std::vector<std::string> said = check_warnings(c);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("fails this task"), std::string::npos) << said[0];
  EXPECT_LT(c.separation, 0.1) << "the metric tells them apart, the other way round";
}

TEST(PromptCheck, EqualPromptsAreNotToldApart) {
  testing::KnownCircuit k = testing::known_induction("induction", 6);
  for (PromptPair& p : k.data.pairs) p.corrupted_ids = p.clean_ids;
  const PromptCheck c = check(*k.model, k.data);
  EXPECT_DOUBLE_EQ(c.separation, 0.5);
  const std::vector<std::string> said = check_warnings(c);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("hardly tells"), std::string::npos) << said[0];
  const Table t = check_table(c);
  ASSERT_EQ(t.rows.size(), 2u);
  for (size_t i = 1; i < t.columns.size(); ++i) EXPECT_EQ(std::get<double>(t.rows[0][i]), std::get<double>(t.rows[1][i]));
}

TEST(PromptCheck, CountsAsWrittenOut) {
  auto m = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  Dataset d = testing::dataset_of(testing::random_ids(7, 5, m->config().vocab_size, 3)), other = testing::dataset_of(testing::random_ids(7, 5, m->config().vocab_size, 4));
  double right = 0, chance = 0;
  std::vector<double> clean, corrupted;
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    PromptPair& p = d.pairs[i];
    p.corrupted_ids = other.pairs[i].clean_ids;
    p.answer_ids = {static_cast<int64_t>(i), 20};
    p.wrong_ids = {30, 31, 32};
    auto logits = [&](const std::vector<int64_t>& ids) { return m->forward(at::tensor(ids, at::kLong).unsqueeze(0)).logits[0][4].to(at::kDouble); };
    auto difference = [&](const at::Tensor& y) {
      return (y[p.answer_ids[0]] + y[20]).item<double>() / 2 - (y[30] + y[31] + y[32]).item<double>() / 3;
    };
    at::Tensor y = logits(p.clean_ids);
    right += std::max(y[static_cast<int64_t>(i)].item<double>(), y[20].item<double>()) > std::max({y[30].item<double>(), y[31].item<double>(), y[32].item<double>()});
    chance += 2.0 / 5;
    clean.push_back(difference(y));
    corrupted.push_back(difference(logits(p.corrupted_ids)));
  }
  const PromptCheck c = check(*m, d, "logit_diff");
  EXPECT_DOUBLE_EQ(c.accuracy, right / 7);
  EXPECT_DOUBLE_EQ(c.chance, chance / 7);
  double above = 0;
  for (double a : clean)
    for (double b : corrupted) above += a > b;
  EXPECT_DOUBLE_EQ(c.separation, above / 49);
  for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(c.clean[i], clean[i], 1e-4);
  EXPECT_EQ(check(*m, d, "logit_diff", 3).prompts, 3);
  d.pairs[6].answer_ids.clear();
  EXPECT_TRUE(std::isnan(check(*m, d).accuracy)) << "without answers nothing is looked at";
  EXPECT_TRUE(check_warnings(check(*m, d)).empty());
}

}  // namespace
}  // namespace microtome::engine
