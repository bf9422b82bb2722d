// Analyses on models whose embeddings are normed and whose states are erased by another key than the one written with: the
// parts still add up, and a number that has no meaning there is missing, not zero.
#include <gtest/gtest.h>

#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::run_whole;

class EveryFamily : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    model_ = testing::load_test_model(testing::golden_path(std::string("golden/models/") + GetParam()));
    data_ = testing::dataset_of(testing::random_ids(3, 10, model_->config().vocab_size, 5));
    for (PromptPair& p : data_.pairs) {
      p.answer_ids = {3};
      p.wrong_ids = {7};
    }
  }
  std::unique_ptr<Model> model_;
  Dataset data_;
};

TEST_P(EveryFamily, DirectAttributionsAddUpToTheLogitDifference) {
  AnalysisResult r = run_whole("dla", *model_, data_);
  double gap = -1, total = 0;
  for (const SummaryItem& s : r.summary) {
    if (s.name == "largest_gap") gap = s.value;
    if (s.name == "logit_diff") total = s.value;
  }
  ASSERT_GE(gap, 0);
  EXPECT_LT(gap, 1e-4) << "of a difference of " << total;
}

TEST_P(EveryFamily, WhatAnotherKeyErasesIsNotCalledNothing) {
  bool another = false;
  for (const HookPoint& p : model_->catalogue().points()) another = another || p.name.find("hook_erase_key") != std::string::npos;
  if (!another) return;                // its own kind is held by the tests of `states`
  AnalysisResult r = run_whole("states", *model_, data_);
  EXPECT_TRUE(at::isnan(array_of(r, "erase")).all().item<bool>());
  EXPECT_TRUE(at::isnan(array_of(r, "transition")).all().item<bool>());
  EXPECT_TRUE(at::isfinite(array_of(r, "norm")).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Models, EveryFamily,
                         ::testing::Values("fla-rwkv6", "fla-rwkv7", "fla-kda", "fla-comba", "fla-gated_deltaproduct",
                                           "fla-forgetting_transformer"),
                         [](const auto& info) {
                           std::string s = info.param;
                           for (char& c : s) if (c == '-') c = '_';
                           return s;
                         });

}  // namespace
}  // namespace microtome
