// linear_probe: its solvers against the equations that define them, planted labels found, control tasks not.
#include <gtest/gtest.h>

#include "analysis/linear_probe/examples.h"
#include "analysis/linear_probe/solve.h"
#include "core/base/rng.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using analyses::Basis;
using testing::array_of;
using testing::close;
using testing::run_whole;

const Model& model_of(const std::string& name) {
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& m = models[name];
  if (!m) m = testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
  return *m;
}

at::Tensor noise(int64_t rows, int64_t columns, uint64_t seed) {
  Rng rng(seed);
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<double>()[i] = rng.normal();
  return out;
}

double value_of(const AnalysisResult& r, const std::string& name) {
  for (const SummaryItem& s : r.summary)
    if (s.name == name) return s.value;
  ADD_FAILURE() << "no number " << name;
  return NAN;
}

// Narrow and wide: more examples than features, and fewer.
class ProbeSolvers : public ::testing::TestWithParam<int64_t> {};

TEST_P(ProbeSolvers, LogisticIsWhereTheDefinedLossIsFlat) {
  const int64_t n = 40, width = GetParam(), classes = 3;
  at::Tensor x = noise(n, width, 1) * 3 + 5, y = (noise(n, 1, 2).squeeze(1) > 0).to(at::kLong) + (noise(n, 1, 3).squeeze(1) > 0.5).to(at::kLong);
  x.select(1, 0).fill_(7);                             // one that does not vary
  Basis basis(x);
  for (double l2 : {0.1, 10.0}) {
    at::Tensor fitted = analyses::fit_logistic(basis.project(x), y, classes, l2, {});
    at::Tensor w = basis.weight(fitted), b = basis.bias(fitted);
    EXPECT_TRUE(close(analyses::predict(fitted, basis.project(x)), at::matmul(x, w.t()) + b, 1e-9, 1e-9));
    // Σ −log p + l2/2 ‖W σ‖² over standardised features, in the features as they are.
    at::Tensor scale = (x - x.mean(0)).square().mean(0).sqrt();
    at::Tensor p = at::softmax(at::matmul(x, w.t()) + b, 1), t = at::zeros({n, classes}, at::kDouble).scatter_(1, y.unsqueeze(1), 1.0);
    at::Tensor slope = at::matmul((p - t).t(), x) + l2 * w * scale.square();
    EXPECT_LT(((p - t).sum(0)).abs().max().item<double>(), 1e-4);
    // At the bias' optimum a constant shift of a feature adds nothing.
    EXPECT_LT((slope - (p - t).sum(0).unsqueeze(1) * x.mean(0)).abs().max().item<double>(), 1e-3);
    EXPECT_NEAR(w.select(1, 0).abs().max().item<double>(), 0, 1e-12);
  }
}

TEST_P(ProbeSolvers, RidgeSolvesItsNormalEquations) {
  const int64_t n = 40, width = GetParam();
  at::Tensor x = noise(n, width, 4) * 2 + 1, y = noise(n, 1, 5).squeeze(1) + 3;
  Basis basis(x);
  for (double l2 : {0.01, 5.0}) {
    at::Tensor fitted = analyses::fit_ridge(basis, basis.project(x), y, l2), w = basis.weight(fitted)[0], b = basis.bias(fitted)[0];
    at::Tensor centred = x - x.mean(0), scale = centred.square().mean(0).sqrt(), z = centred / scale;
    at::Tensor by_hand = at::linalg_solve(at::matmul(z.t(), z) + l2 * at::eye(width, at::kDouble), at::matmul(z.t(), (y - y.mean()).unsqueeze(1)), true).squeeze(1) / scale;
    EXPECT_TRUE(close(w, by_hand, 1e-7, 1e-6));
    EXPECT_NEAR(b.item<double>(), (y.mean() - (by_hand * x.mean(0)).sum()).item<double>(), 1e-6);
  }
}
INSTANTIATE_TEST_SUITE_P(Widths, ProbeSolvers, ::testing::Values(6, 90));

TEST(ProbeCrossValidation, LeavesEachFoldOut) {
  const int64_t n = 60;
  at::Tensor x = noise(n, 8, 6), y = (x.select(1, 0) + 0.7 * noise(n, 1, 7).squeeze(1) > 0).to(at::kLong), fold = at::arange(n, at::kLong).remainder(4);
  auto cv = analyses::cross_validate(x, {{y, 2}}, fold, 4, {1.0});
  for (int64_t k = 0; k < 4; ++k) {
    at::Tensor held = (fold == k).nonzero().squeeze(1), kept = (fold != k).nonzero().squeeze(1), train = x.index_select(0, kept);
    Basis basis(train);
    at::Tensor fitted = analyses::fit_logistic(basis.project(train), y.index_select(0, kept), 2, 1.0, {});
    at::Tensor said = (at::matmul(x.index_select(0, held), basis.weight(fitted).t()) + basis.bias(fitted)).argmax(1);
    EXPECT_TRUE(at::equal(said.to(at::kDouble), cv[0].predicted.index_select(0, held)));
  }
  // What is held out has no say in the penalty: other labels there change nothing else.
  at::Tensor other = at::where(fold == 1, 1 - y, y);
  auto a = analyses::cross_validate(x, {{y, 2}}, fold, 4, {0.01, 1, 100}), b = analyses::cross_validate(x, {{other, 2}}, fold, 4, {0.01, 1, 100});
  at::Tensor held = (fold == 1).nonzero().squeeze(1);
  EXPECT_EQ(a[0].l2[1], b[0].l2[1]);
  EXPECT_TRUE(at::equal(a[0].predicted.index_select(0, held), b[0].predicted.index_select(0, held)));
}

TEST(ProbeCrossValidation, ChoosesStrongPenaltiesForNoise) {
  at::Tensor x = noise(60, 40, 8), y = noise(60, 1, 9).squeeze(1), fold = at::arange(60, at::kLong).remainder(5);
  auto cv = analyses::cross_validate(x, {{y, 0}, {x.select(1, 3) * 2 + 1, 0}}, fold, 5, {0.001, 1e5});
  for (double l2 : cv[0].l2) EXPECT_EQ(l2, 1e5);
  for (double l2 : cv[1].l2) EXPECT_EQ(l2, 0.001);
}

// Prompts whose token at position 3 says the label; a label of noise; a number.
Dataset prompts(const Model& m, int64_t count = 48) {
  Dataset d = testing::dataset_of(testing::random_ids(count, 7, m.config().vocab_size, 3)), other = testing::dataset_of(testing::random_ids(count, 7, m.config().vocab_size, 4));
  Rng rng(10);
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    PromptPair& p = d.pairs[i];
    const bool left = i % 2 == 0;
    p.clean_ids[3] = left ? 5 : 9;
    p.corrupted_ids = other.pairs[i].clean_ids;
    p.answer_ids = {left ? 1 : 2};
    p.positions = {{"subject", 3}};
    p.labels = {{"side", left ? "left" : "right"}, {"noise", rng.below(2) ? "a" : "b"}, {"number", left ? "-1.5" : "4"}, {"rare", i == 0 ? "once" : left ? "x" : "y"}};
  }
  return d;
}

class Probes : public ::testing::TestWithParam<const char*> {};

TEST_P(Probes, FindWhatIsPlantedAndNotTheControl) {
  const Model& m = model_of(GetParam());
  Dataset d = prompts(m);
  AnalysisResult r = run_whole("linear_probe", m, d, {{"label", "side"}, {"position", "subject"}, {"l2", "0.1,1,10"}});
  at::Tensor accuracy = array_of(r, "accuracy"), control = array_of(r, "control");
  EXPECT_EQ(accuracy.size(0), m.config().layers.size());
  EXPECT_GE(accuracy[0].item<double>(), 0.85);         // beside it lies what attention brings from random tokens
  EXPECT_LE(control[0].item<double>(), 0.75);
  AnalysisResult token = run_whole("linear_probe", m, d, {{"label", "side"}, {"position", "subject"}, {"point", "blocks.0.hook_resid_pre"}, {"l2", "1"}});
  EXPECT_EQ(array_of(token, "accuracy")[0].item<double>(), 1);
  EXPECT_LE(array_of(token, "control")[0].item<double>(), 0.75);
  EXPECT_NEAR(array_of(r, "selectivity")[0].item<double>(), (accuracy[0] - control[0]).item<double>(), 1e-12);
  EXPECT_NEAR(value_of(r, "most_frequent"), 0.5, 0.1);
  // At a position before the token nothing is known of it.
  AnalysisResult before = run_whole("linear_probe", m, d, {{"label", "side"}, {"position", "1"}, {"control", "false"}, {"l2", "1,100"}});
  EXPECT_LE(array_of(before, "accuracy").max().item<double>(), 0.75);
  AnalysisResult chance = run_whole("linear_probe", m, d, {{"label", "noise"}, {"control", "false"}, {"l2", "1,100"}});
  EXPECT_LE(array_of(chance, "accuracy").max().item<double>(), 0.75);
}

TEST_P(Probes, WeightsAreAFunctionOfTheValuesAsTheyAre) {
  const Model& m = model_of(GetParam());
  Dataset d = prompts(m);
  for (std::string point : {"hook_resid_post", "attn.hook_z"}) {
    AnalysisResult r = run_whole("linear_probe", m, d, {{"label", "side"}, {"position", point == "attn.hook_z" ? "-4" : "mean"}, {"point", "blocks.0." + point}, {"control", "false"}, {"l2", "0.1,1"}});
    at::Tensor w = array_of(r, "weights")[0], b = array_of(r, "bias")[0], direction = array_of(r, "direction")[0];
    int64_t right = 0;
    for (const PromptPair& p : d.pairs) {
      HookPlan plan;
      plan.capture("blocks.0." + point);
      at::Tensor v = m.forward(at::tensor(p.clean_ids, at::kLong).unsqueeze(0).to(m.device()), plan).cache.get("blocks.0." + point)[0].to(at::kCPU).flatten(1);
      at::Tensor x = point == "attn.hook_z" ? v[3] : v.mean(0), score = at::matmul(w, x) + b;
      EXPECT_NEAR(((direction * x).sum() + b[1] - b[0]).item<double>(), (score[1] - score[0]).item<double>(), 1e-9);
      right += score.argmax().item<int64_t>() == (p.labels.at("side") == "right");
    }
    EXPECT_GE(right, 40) << point;                     // on what it was trained on
  }
}

TEST_P(Probes, ReadNumbers) {
  const Model& m = model_of(GetParam());
  Dataset d = prompts(m);
  AnalysisResult r = run_whole("linear_probe", m, d, {{"label", "number"}, {"probe", "ridge"}, {"position", "subject"}, {"point", "blocks.0.hook_resid_pre"}});
  EXPECT_GE(array_of(r, "r2")[0].item<double>(), 0.99);
  EXPECT_LE(array_of(r, "control")[0].item<double>(), 0.4);
}
INSTANTIATE_TEST_SUITE_P(Models, Probes, ::testing::Values("hf-llama", "fla-hybrid-gated_deltanet-swa"), [](const auto& i) {
  std::string n = i.param;
  std::replace(n.begin(), n.end(), '-', '_');
  return n;
});

AnalysisInput input_of(const Model& m, const Dataset& d, const std::map<std::string, std::string>& params) {
  return {m, nullptr, d, resolve_params(analyses::builtin().find("linear_probe")->schema, params).value(), 0, MixerForm::kAuto};
}

TEST(ProbeExamples, TwinsShareAFoldAndTypesALabel) {
  const Model& m = model_of("hf-llama");
  Dataset d = prompts(m);
  analyses::ExampleSet twins = analyses::make_examples(input_of(m, d, {{"label", "corrupted"}}));
  ASSERT_EQ(twins.examples.size(), 96u);
  EXPECT_EQ(twins.classes, (std::vector<std::string>{"clean", "corrupted"}));
  std::map<int64_t, std::set<int64_t>> folds;
  for (size_t i = 0; i < twins.examples.size(); ++i) {
    folds[twins.examples[i].prompt].insert(twins.fold[static_cast<int64_t>(i)].item<int64_t>());
    EXPECT_EQ(twins.y[static_cast<int64_t>(i)].item<int64_t>(), twins.examples[i].corrupted ? 1 : 0);
  }
  for (const auto& [prompt, f] : folds) EXPECT_EQ(f.size(), 1u) << prompt;

  for (size_t i = 0; i < d.pairs.size(); ++i) d.pairs[i].clean_ids[6] = static_cast<int64_t>(i % 8);
  analyses::ExampleSet typed = analyses::make_examples(input_of(m, d, {{"label", "side"}, {"folds", "4"}}));
  EXPECT_EQ(typed.type, "token at the position");
  std::map<int64_t, std::set<int64_t>> labels;
  for (size_t i = 0; i < typed.examples.size(); ++i) labels[static_cast<int64_t>(i) % 8].insert(typed.control[static_cast<int64_t>(i)].item<int64_t>());
  for (const auto& [token, l] : labels) EXPECT_EQ(l.size(), 1u) << token;
  EXPECT_GT((typed.control == 0).sum().item<int64_t>(), 0);
  EXPECT_GT((typed.control == 1).sum().item<int64_t>(), 0);
  // Classes are dealt out evenly.
  for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(((typed.fold == k) & (typed.y == 0)).sum().item<int64_t>(), 6);

  analyses::ExampleSet rare = analyses::make_examples(input_of(m, d, {{"label", "rare"}}));
  EXPECT_EQ(rare.examples.size(), 47u);
  ASSERT_EQ(rare.warnings.size(), 1u);
  EXPECT_NE(rare.warnings[0].find("once"), std::string::npos);
}

TEST(ProbeInput, BadParametersAreNamed) {
  const Model& m = model_of("hf-llama");
  Dataset d = prompts(m, 6), single = d, alike = d;
  single.pairs.resize(1);
  alike.pairs = {d.pairs[0], d.pairs[0]};
  auto error = [&](const Dataset& data, const std::map<std::string, std::string>& params) {
    try {
      run_whole("linear_probe", m, data, params);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error(d, {{"label", "colour"}}).find("use one of answer, corrupted, noise"), std::string::npos) << error(d, {{"label", "colour"}});
  EXPECT_NE(error(d, {{"position", "object"}}).find("no position 'object'"), std::string::npos);
  EXPECT_NE(error(d, {{"position", "7"}}).find("outside"), std::string::npos);
  EXPECT_NE(error(d, {{"l2", "1,0"}}).find("not a penalty"), std::string::npos);
  EXPECT_NE(error(d, {{"label", "side"}, {"probe", "ridge"}}).find("not a number"), std::string::npos);
  EXPECT_NE(error(d, {{"point", "attn.hook_pattern"}}).find("one vector a position"), std::string::npos);
  EXPECT_NE(error(d, {{"point", "hook_nothing"}}).find("hook_nothing"), std::string::npos);
  EXPECT_NE(error(single, {}).find("no class that occurs twice"), std::string::npos) << error(single, {});
  EXPECT_NE(error(alike, {}).find("only one prompt"), std::string::npos) << error(alike, {});
  EXPECT_NE(error(Dataset{}, {}).find("needs prompts"), std::string::npos);
}

}  // namespace
}  // namespace microtome
