// Analyses on models that are built unlike GPT-2 and Llama: normed embeddings, norms behind the parts, parallel blocks, no
// MLP, no norm, attention in both directions, states erased by another key than the one written with. The parts still add
// up, patching still does what a plain run does, and a number that has no meaning there is missing, not zero.
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
    const std::string folder = std::string("golden/models/") + GetParam();
    if (testing::lies_elsewhere(folder)) GTEST_SKIP() << "only the whole reference folder has it (MICROTOME_GOLDEN)";
    model_ = testing::load_test_model(testing::golden_path(folder));
    if (model_->config().hard_context) length_ = std::min(length_, model_->config().context_length);
    data_ = testing::dataset_of(testing::random_ids(3, length_, model_->config().vocab_size, 5));
    for (PromptPair& p : data_.pairs) {
      p.answer_ids = {3};
      p.wrong_ids = {7};
    }
  }
  std::unique_ptr<Model> model_;
  Dataset data_;
  int64_t length_ = 10;
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

// A grid of patches against one plain run a cell, of the residual at a position and of a whole layer's output.
class PatchedFamily : public UnusualFamily {};

TEST_P(PatchedFamily, PatchingIsARunWithTheValueReplaced) {
  const int64_t layers = static_cast<int64_t>(model_->config().layers.size()), length = length_;
  for (PromptPair& p : data_.pairs) {
    p.corrupted_ids = p.clean_ids;
    p.corrupted_ids[4] = (p.corrupted_ids[4] + 11) % model_->config().vocab_size;
  }
  const PromptPair& pair = data_.pairs[0];
  auto ids = [](const std::vector<int64_t>& v) { return at::tensor(v, at::kLong).unsqueeze(0); };
  for (const char* site : {"resid_pre", "attn_out"}) {
    AnalysisResult r = run_whole("activation_patching", *model_, data_, {{"site", site}, {"metric", "logit_diff"}});
    at::Tensor value = array_of(r, "value_prompts");
    for (int64_t l = 0; l < layers; ++l)
      for (int64_t pos : {int64_t{2}, int64_t{4}, length - 1}) {
        const std::string point = "blocks." + std::to_string(l) + ".hook_" + site;
        at::Tensor source = model_->forward(ids(pair.clean_ids), HookPlan().capture(point)).cache.get(point);
        HookPlan plan;
        plan.edit(point, [&](const at::Tensor& x, int64_t) {
          at::Tensor y = x.clone();
          y.select(1, pos).copy_(source.select(1, pos));
          return y;
        });
        at::Tensor logits = model_->forward(ids(pair.corrupted_ids), plan).logits[0][length - 1];
        const double want = (logits[3] - logits[7]).item<double>(), got = value[l][pos][0].item<double>();
        EXPECT_NEAR(got, want, 1e-4 * std::max(1.0, std::abs(want))) << site << " of layer " << l << ", position " << pos;
      }
  }
}

class NotAdditive : public UnusualFamily {};

TEST_P(NotAdditive, DirectAttributionSaysWhyItCannot) {
  try {
    run_whole("dla", *model_, data_);
    ADD_FAILURE() << "ran";
  } catch (const Error& e) {
    EXPECT_EQ(e.status().code(), StatusCode::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("adds up"), std::string::npos) << e.what();
  }
}

TEST(BlocksWithoutChannelMixer, HaveNoPartOfIt) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-mamba2"));
  Dataset data = testing::dataset_of(testing::random_ids(2, 6, model->config().vocab_size, 5));
  for (PromptPair& p : data.pairs) {
    p.answer_ids = {3};
    p.wrong_ids = {7};
  }
  AnalysisResult r = run_whole("dla", *model, data);
  EXPECT_TRUE(at::isnan(array_of(r, "mlps")).all().item<bool>());
  EXPECT_TRUE(at::isfinite(array_of(r, "heads")).all().item<bool>());
}

// One pattern a memory and head, more than the layer has heads.
TEST(MixtureOfMemories, EveryMemorysPatternIsScored) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/tiny-mom"));
  Dataset data = testing::dataset_of(testing::random_ids(2, 6, model->config().vocab_size, 5));
  const HookPoint* point = model->catalogue().find("blocks.0.attn.hook_pattern");
  ASSERT_NE(point, nullptr);
  const int64_t patterns = point->sizes.at(1);
  ASSERT_GT(patterns, model->mixer_info(0).heads);
  AnalysisResult r = run_whole("attention", *model, data, {{"max_patterns", "1"}});
  EXPECT_EQ(array_of(r, "pattern").size(1), patterns);
  for (const Artifact& a : r.artifacts)
    if (const Table* t = std::get_if<Table>(&a); t && t->name == "heads") EXPECT_EQ(t->rows.size() % static_cast<size_t>(patterns), 0u);
  at::Tensor ids = at::tensor(data.pairs[0].clean_ids, at::kLong).unsqueeze(0);
  at::Tensor want = model->forward(ids, HookPlan().capture("blocks.0.attn.hook_pattern")).cache.get("blocks.0.attn.hook_pattern")[0];
  EXPECT_TRUE(testing::close(array_of(r, "pattern")[0].select(1, 0).to(at::kFloat), want, 1e-6, 1e-6));
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

// Softmax attention beside a state: what looks at patterns and heads sees the attention, what looks at states the other part.
class AttentionBesideState : public UnusualFamily {
 protected:
  at::Tensor captured(const std::string& point) const {
    const int64_t l = static_cast<int64_t>(model_->config().layers.size()) - 1;
    const std::string name = "blocks." + std::to_string(l) + ".attn." + point;
    at::Tensor ids = at::tensor(data_.pairs[0].clean_ids, at::kLong).unsqueeze(0);
    return model_->forward(ids, HookPlan().capture(name)).cache.get(name);
  }
  int64_t last_layer() const { return static_cast<int64_t>(model_->config().layers.size()) - 1; }
};

TEST_P(AttentionBesideState, PatternsAreTheAttentions) {
  AnalysisResult r = run_whole("attention", *model_, data_, {{"max_patterns", "1"}});
  at::Tensor shown = array_of(r, "pattern")[last_layer()].select(1, 0), want = captured("hook_pattern")[0];
  shown = shown.narrow(0, 0, want.size(0)).narrow(1, 0, length_).narrow(2, 0, length_);
  EXPECT_TRUE(testing::close(shown.to(at::kFloat), want, 1e-6, 1e-6));
  EXPECT_TRUE(testing::close(want.sum(-1), at::ones_like(want.sum(-1)), 1e-5, 0));
}

TEST_P(AttentionBesideState, StatesAreReadByTheirOwnPart) {
  AnalysisResult r = run_whole("state_lens", *model_, data_);
  at::Tensor ids = array_of(r, "top_id")[last_layer()];
  at::Tensor written = captured("hook_result.ssm")[0];                 // [pos, head, d_model]
  const ModelConfig& c = model_->config();
  at::Tensor u = model_->weights().get(c.tied_unembedding ? "embed.weight" : "unembed.weight");
  at::Tensor best = at::matmul(written * model_->weights().get("ln_final.weight"), u.t()).argmax(-1);
  for (int64_t h = 0; h < written.size(1); ++h)
    EXPECT_EQ(ids[h][0][length_ - 1].item<double>(), best[length_ - 1][h].item<int64_t>()) << h;

  AnalysisResult states = run_whole("states", *model_, data_);
  at::Tensor norm = array_of(states, "read_norm").select(0, last_layer());
  EXPECT_TRUE(at::isfinite(norm).all().item<bool>());
}

TEST_P(AttentionBesideState, HeadsAreScored) {
  AnalysisResult r = run_whole("head_probes", *model_, Dataset{}, {{"n", "4"}, {"batch", "2"}});
  EXPECT_FALSE(r.artifacts.empty());
  for (const char* analysis : {"ablation", "attribution_patching"}) {
    for (PromptPair& p : data_.pairs) {
      p.corrupted_ids = p.clean_ids;
      p.corrupted_ids[4] = (p.corrupted_ids[4] + 11) % model_->config().vocab_size;
    }
    EXPECT_FALSE(run_whole(analysis, *model_, data_).artifacts.empty()) << analysis;
  }
}

// The heads' parts over source positions are theirs, output multiplier included.
TEST(AttentionBesideStates, DirectAttributionGoesBackToTheSources) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/tiny-falcon_h1-mup"));
  Dataset data = testing::dataset_of(testing::random_ids(2, 8, model->config().vocab_size, 5));
  for (PromptPair& p : data.pairs) {
    p.answer_ids = {3};
    p.wrong_ids = {7};
  }
  AnalysisResult r = run_whole("dla", *model, data, {{"by_source", "true"}});
  at::Tensor heads = array_of(r, "heads"), parts = array_of(r, "heads_by_source_position");
  EXPECT_TRUE(testing::close(parts.sum(-1), heads, 1e-4, 1e-4));
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string s = info.param;
  for (char& c : s)
    if (c == '-') c = '_';
  return s;
}

INSTANTIATE_TEST_SUITE_P(Models, UnusualFamily,
                         ::testing::Values("tiny-gemma2", "tiny-gemma3", "tiny-olmo2", "tiny-phi-qknorm", "tiny-bloom", "tiny-opt",
                                           "induction-2l-attn-only", "fla-rwkv6", "fla-rwkv7", "hf-rwkv", "fla-kda",
                                           "fla-comba", "fla-mesa_net", "fla-gated_deltaproduct", "fla-forgetting_transformer",
                                           "fla-mamba", "hf-mamba2", "fla-samba", "fla-log_linear_mamba2", "fla-hgrn", "fla-hgrn2",
                                           "fla-gsa", "fla-abc", "tiny-recurrent_gemma", "tiny-xlstm",
                                           "tiny-mom", "tiny-jamba-moe", "tiny-bamba-rope", "tiny-falcon_h1-mup",
                                           "tiny-zamba2"),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Models, PatchedFamily,
                         ::testing::Values("tiny-gemma2", "tiny-olmo2", "tiny-phi-qknorm", "tiny-gpt_neo", "tiny-mistral", "hf-bert",
                                           "induction-2l-attn-only", "fla-rwkv6", "fla-rwkv7", "tiny-jamba-moe",
                                           "tiny-bamba-rope", "tiny-falcon_h1-mup", "tiny-zamba2", "tiny-minimax-scaled"),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Models, NotAdditive, ::testing::Values("hf-bert", "tiny-opt-postnorm", "tiny-minimax-scaled"), test_name);
// Those with `attn.hook_erase_key`; where the key that is written with erases, the tests of `states` hold.
INSTANTIATE_TEST_SUITE_P(Models, ErasedByAnotherKey, ::testing::Values("fla-rwkv7", "fla-comba"), test_name);
INSTANTIATE_TEST_SUITE_P(Models, OnlyAddedTo,
                         ::testing::Values("fla-hgrn", "fla-hgrn2", "fla-gsa", "fla-abc", "tiny-xlstm",
                                           "tiny-falcon_h1-mup", "tiny-zamba2"),
                         test_name);

INSTANTIATE_TEST_SUITE_P(Models, AttentionBesideState, ::testing::Values("tiny-falcon_h1-mup", "tiny-zamba2"), test_name);

}  // namespace
}  // namespace microtome
