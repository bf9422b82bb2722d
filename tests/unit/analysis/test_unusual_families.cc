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

class UnusualFamily : public ::testing::TestWithParam<const char*> {
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

TEST_P(UnusualFamily, DirectAttributionsAddUpToTheLogitDifference) {
  AnalysisResult r = run_whole("dla", *model_, data_);
  double gap = -1, total = 0;
  for (const SummaryItem& s : r.summary) {
    if (s.name == "largest_gap") gap = s.value;
    if (s.name == "logit_diff") total = s.value;
  }
  ASSERT_GE(gap, 0);
  EXPECT_LT(gap, 1e-4) << "of a difference of " << total;
}

class ErasedByAnotherKey : public UnusualFamily {};

TEST_P(ErasedByAnotherKey, IsNotCalledNothing) {
  AnalysisResult r = run_whole("states", *model_, data_);
  EXPECT_TRUE(at::isnan(array_of(r, "erase")).all().item<bool>());
  EXPECT_TRUE(at::isnan(array_of(r, "transition")).all().item<bool>());
  EXPECT_TRUE(at::isfinite(array_of(r, "norm")).all().item<bool>());
}

// A state that decays channel by channel and is only added to: nothing is erased, and the transition is the decay.
class OnlyAddedTo : public UnusualFamily {};

TEST_P(OnlyAddedTo, StatesAreDescribed) {
  AnalysisResult r = run_whole("states", *model_, data_);
  EXPECT_TRUE(at::isfinite(array_of(r, "norm")).all().item<bool>());
  EXPECT_GT(array_of(r, "norm").abs().max().item<double>(), 0);
  at::Tensor erase = array_of(r, "erase");
  EXPECT_TRUE((at::isnan(erase) | (erase == 0)).all().item<bool>());
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string s = info.param;
  for (char& c : s) if (c == '-') c = '_';
  return s;
}

INSTANTIATE_TEST_SUITE_P(Models, UnusualFamily,
                         ::testing::Values("fla-rwkv6", "fla-rwkv7", "hf-rwkv", "fla-kda", "fla-comba", "fla-mesa_net",
                                           "fla-gated_deltaproduct", "fla-forgetting_transformer", "fla-hgrn", "fla-hgrn2",
                                           "fla-gsa", "fla-abc"),
                         test_name);
// Those with `attn.hook_erase_key`; where the key that is written with erases, the tests of `states` hold.
INSTANTIATE_TEST_SUITE_P(Models, ErasedByAnotherKey, ::testing::Values("fla-rwkv7", "fla-comba"), test_name);
INSTANTIATE_TEST_SUITE_P(Models, OnlyAddedTo, ::testing::Values("fla-hgrn", "fla-hgrn2", "fla-gsa", "fla-abc"), test_name);

}  // namespace
}  // namespace microtome
