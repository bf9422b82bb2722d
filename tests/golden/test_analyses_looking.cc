// logit_lens, dla, attention, head_probes and raw captures against TransformerLens and plain PyTorch numbers
// (definitions in the folders' inputs.json and definitions.json; tolerances as stated there).
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/json.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::close;
using testing::golden_path;
using testing::run_whole;

at::Tensor ids_of(const Json& rows) {
  std::vector<int64_t> flat;
  for (const Json& row : rows)
    for (const Json& id : row) flat.push_back(id.get<int64_t>());
  return at::tensor(flat, at::kLong).view({static_cast<int64_t>(rows.size()), -1});
}

struct Golden {
  Json inputs;
  std::map<std::string, at::Tensor> expected;
  std::unique_ptr<Model> model;
};

// Nothing when this checkout does not hold the reference or the model.
std::optional<Golden> open_golden(const std::string& name) {
  std::string file = golden_path("golden/analyses/" + name + "/expected.safetensors");
  if (file.empty()) return std::nullopt;
  Golden g;
  g.inputs = read_json_file(golden_path("golden/analyses/" + name + "/inputs.json")).value();
  g.expected = testing::load_tensors(file);
  std::string folder = golden_path(g.inputs["model"].get<std::string>() + "/model.safetensors");
  if (folder.empty()) return std::nullopt;
  g.model = testing::load_test_model(folder.substr(0, folder.rfind('/')));
  return g;
}

Dataset with_answers(const Json& inputs) {
  Dataset out = testing::dataset_of(ids_of(inputs["clean_tokens"]));
  for (size_t i = 0; i < out.pairs.size(); ++i) {
    out.pairs[i].answer_ids = {inputs["answers"][i][0].get<int64_t>()};
    out.pairs[i].wrong_ids = {inputs["answers"][i][1].get<int64_t>()};
  }
  return out;
}

// Attributions: 5e-4 of the largest magnitude in the tensor.
::testing::AssertionResult attribution_close(const at::Tensor& mine, const at::Tensor& theirs) {
  return close(mine, theirs, 5e-4 * theirs.abs().max().item<double>() + 1e-9, 0);
}

class Looking : public ::testing::TestWithParam<const char*> {
 protected:
  std::string model() const { return GetParam(); }
};

TEST_P(Looking, LogitLens) {
  auto g = open_golden(model() + "-logitlens");
  if (!g) GTEST_SKIP() << "not in this checkout";
  AnalysisResult result = run_whole("logit_lens", *g->model, testing::dataset_of(ids_of(g->inputs["clean_tokens"])));
  const auto& e = g->expected;
  int64_t next = e.at("rank_of_next_token").size(2);
  EXPECT_TRUE(close(array_of(result, "kl"), e.at("kl_final_to_layer"), 1e-4, 1e-4));
  EXPECT_TRUE(close(array_of(result, "entropy"), e.at("entropy"), 1e-4, 1e-4));
  EXPECT_TRUE(close(array_of(result, "logprob").narrow(2, 0, next), e.at("logprob_of_next_token"), 1e-4, 1e-4));
  EXPECT_TRUE(close(array_of(result, "rank").narrow(2, 0, next), e.at("rank_of_next_token"), 0, 0));
  EXPECT_TRUE(close(array_of(result, "logits_top"), e.at("argmax"), 0, 0));
  EXPECT_TRUE(array_of(result, "rank").select(2, next).isnan().all().item<bool>())
      << "no answer, no rank at the last position";
}

TEST_P(Looking, DirectLogitAttribution) {
  auto g = open_golden(model() + "-dla");
  if (!g) GTEST_SKIP() << "not in this checkout";
  AnalysisResult result = run_whole("dla", *g->model, with_answers(g->inputs), {{"by_source", "true"}});
  const auto& e = g->expected;
  for (const char* name : {"heads", "mlps", "embed", "const", "logit_diff"}) {
    SCOPED_TRACE(name);
    at::Tensor want = e.at(name);
    if (want.abs().max().item<double>() == 0) {
      EXPECT_TRUE(close(array_of(result, name), want, 1e-6, 0));
    } else {
      EXPECT_TRUE(attribution_close(array_of(result, name), want));
    }
  }
  double size = e.at("logit_diff").abs().max().item<double>();
  EXPECT_TRUE(close(array_of(result, "attn_bias"), e.at("attn_out_bias"), 5e-4 * size, 0));
  EXPECT_TRUE(close(array_of(result, "pos_embed"), e.at("pos_embed"), 5e-4 * size, 0));
  EXPECT_TRUE(attribution_close(array_of(result, "heads_by_source_position"),
                                e.at("heads_by_source_position").transpose(2, 3)));
  at::Tensor sum = array_of(result, "heads").sum(at::IntArrayRef({0, 1})) + array_of(result, "mlps").sum(0) +
                   array_of(result, "attn_bias").sum(0) + array_of(result, "embed") + array_of(result, "pos_embed") +
                   array_of(result, "const");
  EXPECT_TRUE(close(sum, array_of(result, "logit_diff"), 1e-4, 0));
  EXPECT_TRUE(result.warnings.empty());
}

TEST_P(Looking, HeadScores) {
  auto g = open_golden(model() + "-headscores");
  if (!g) GTEST_SKIP() << "not in this checkout";
  Dataset dataset = testing::dataset_of(ids_of(g->inputs["tokens"]));
  AnalysisResult probes = run_whole("head_probes", *g->model, dataset, {{"tokens", "dataset"}, {"ablate", "none"}});
  const auto& e = g->expected;
  const std::pair<const char*, const char*> same[] = {{"induction", "induction"},
                                                      {"duplicate", "duplicate"},
                                                      {"prev_token", "previous"},
                                                      {"induction_diagonal", "induction_diagonal"},
                                                      {"duplicate_diagonal", "duplicate_diagonal"},
                                                      {"prev_token_diagonal", "previous_diagonal"}};
  for (const auto& [mine, theirs] : same) EXPECT_TRUE(close(array_of(probes, mine), e.at(theirs), 1e-4, 1e-4)) << mine;
  for (const SummaryItem& s : probes.summary)
    if (s.name == "loss_first_half" || s.name == "loss_second_half") {
      EXPECT_NEAR(s.value, e.at(s.name).item<double>(), 1e-4 + 1e-4 * std::fabs(s.value)) << s.name;
    }

  const std::pair<const char*, const char*> more[] = {
      {"entropy", "entropy"}, {"first_token", "first_token"}, {"self", "current"}, {"prev_token", "previous"}};
  // From whole patterns, and where none is kept from numbers of their rows.
  for (const char* patterns : {"2", "0"}) {
    AnalysisResult looks = run_whole("attention", *g->model, dataset, {{"max_patterns", patterns}});
    for (const auto& [mine, theirs] : more) EXPECT_TRUE(close(array_of(looks, mine), e.at(theirs), 1e-4, 1e-4)) << mine << " " << patterns;
  }
}

TEST_P(Looking, EveryHookTensor) {
  auto g = open_golden(model() + "-cache");
  if (!g) GTEST_SKIP() << "not in this checkout";
  at::NoGradGuard no_grad;
  HookPlan plan;
  for (const auto& [name, _] : g->expected)
    if (name != "logits") plan.capture(name);
  ForwardResult run = g->model->forward(ids_of(g->inputs["clean_tokens"]), plan);
  ASSERT_GT(g->expected.size(), 30u);
  for (const auto& [name, want] : g->expected)
    EXPECT_TRUE(close(name == "logits" ? run.logits : run.cache.get(name), want, 1e-4, 1e-4)) << name;
}

INSTANTIATE_TEST_SUITE_P(TransformerLens, Looking, ::testing::Values("hf-gpt2", "stories260K"),
                         [](const auto& info) { return std::string(info.param) == "hf-gpt2" ? "gpt2" : "stories"; });

class ZooPanel : public ::testing::TestWithParam<const char*> {};

TEST_P(ZooPanel, InductionPreviousDuplicate) {
  std::string name = GetParam();
  std::string file = golden_path("golden/analyses/" + name + "/analyses.safetensors");
  std::string weights = golden_path("models/" + name + "/model.safetensors");
  if (file.empty() || weights.empty()) GTEST_SKIP() << "not in this checkout";
  auto e = testing::load_tensors(file);
  auto model = testing::load_test_model(weights.substr(0, weights.rfind('/')));
  Dataset dataset = testing::dataset_of(e.at("repeated_ids"));
  AnalysisResult result = run_whole("head_probes", *model, dataset, {{"tokens", "dataset"}, {"ablate", "none"}});
  EXPECT_TRUE(close(array_of(result, "induction"), e.at("induction_score"), 1e-3, 0));
  EXPECT_TRUE(close(array_of(result, "prev_token"), e.at("previous_token_score"), 1e-3, 0));
  EXPECT_TRUE(close(array_of(result, "duplicate"), e.at("duplicate_token_score"), 1e-3, 0));
  ASSERT_FALSE(result.findings.empty());
  EXPECT_NE(result.findings[0].find("is an induction head"), std::string::npos) << result.findings[0];
}

INSTANTIATE_TEST_SUITE_P(Zoo, ZooPanel, ::testing::Values("zoo-llama", "zoo-gpt2"),
                         [](const auto& info) { return std::string(info.param).substr(4); });

}  // namespace
}  // namespace microtome
