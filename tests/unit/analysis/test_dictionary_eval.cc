// Metrics of dictionaries against sums written out, dictionaries in the model against edits by hand, and `dictionary_eval` on both.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/dictionary/formats/format.h"
#include "core/training/dictionary_metrics.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/dictionary/made.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::close;
using testing::made;
using testing::naive;
using testing::run_whole;

const Model& model_of(const std::string& name) {
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& m = models[name];
  if (!m) m = testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
  return *m;
}

double value_of(const AnalysisResult& r, const std::string& name) {
  for (const SummaryItem& s : r.summary)
    if (s.name == name) return s.value;
  ADD_FAILURE() << "no number " << name;
  return NAN;
}

// A dictionary of a point with weights that repeat, scaled so that the model does not blow up.
Dictionary made_for(const Model& m, const std::string& in, const std::string& out, const std::string& kind = "standard") {
  const int64_t d_in = point_width(m, in), d_out = point_width(m, out);
  Dictionary d = made(kind, in != out, false, 0.3, {d_in, 2 * d_in + 3, d_out});
  d.config.hook_in = in;
  d.config.hook_out = out;
  for (const char* w : {"W_enc", "W_dec"}) d.weights[w] = d.weights[w] / std::sqrt(static_cast<double>(d_in));
  for (auto& [name, w] : d.weights) w = w.to(m.device());
  return d;
}

// x = relu(x) - relu(-x).
Dictionary exact(const Model& m, const std::string& point) {
  Dictionary d = made_for(m, point, point);
  const int64_t n = d.config.d_in;
  at::Tensor one = at::eye(n, at::kDouble);
  d.config.d_sae = 2 * n;
  d.weights = {{"W_enc", at::cat({one, -one}, 1)}, {"W_dec", at::cat({one, -one}, 0)}, {"b_enc", at::zeros({2 * n}, at::kDouble)}, {"b_dec", at::zeros({n}, at::kDouble)}};
  return d;
}

std::shared_ptr<const DictionarySet> set_of(std::vector<Dictionary> members) {
  auto s = std::make_shared<DictionarySet>();
  for (Dictionary& d : members) {
    s->layers.push_back(layer_of_hook(d.config.hook_in));
    s->members.push_back(std::move(d));
  }
  return s;
}

at::Tensor tokens_of(const Model& m, int64_t rows = 3, int64_t length = 9, uint64_t seed = 5) { return testing::random_ids(rows, length, m.config().vocab_size, seed).to(m.device()); }

double cross_entropy(const at::Tensor& logits, const at::Tensor& tokens) {
  double sum = 0;
  for (int64_t r = 0; r < tokens.size(0); ++r)
    for (int64_t t = 0; t + 1 < tokens.size(1); ++t) sum -= at::log_softmax(logits[r][t].to(at::kDouble), 0)[tokens[r][t + 1].item<int64_t>()].item<double>();
  return sum / static_cast<double>(tokens.size(0) * (tokens.size(1) - 1));
}

double divergence(const at::Tensor& clean, const at::Tensor& run) {
  at::Tensor p = at::log_softmax(clean.to(at::kDouble), -1), q = at::log_softmax(run.to(at::kDouble), -1);
  return (p.exp() * (p - q)).sum(-1).mean().item<double>();
}

TEST(DictionaryMetrics, AreTheDefinitionsOverAllTokens) {
  at::Tensor x = testing::wave({50, 7}, 1.0).to(at::kDouble) + at::arange(7, at::kDouble) * 1000, y = x + testing::wave({50, 7}, 2.0, 0.3).to(at::kDouble);
  at::Tensor codes = at::relu(testing::wave({50, 11}, 3.0) - 0.4);
  codes.select(1, 4).zero_();
  codes.select(1, 5).fill_(1);
  MetricsAccumulator whole(7, 11, c10::kCPU), first(7, 11, c10::kCPU), second(7, 11, c10::kCPU), kept(7, 11, c10::kCPU);
  for (auto [from, count] : {std::pair{0, 7}, {7, 30}, {37, 13}}) {
    auto part = [&](const at::Tensor& t) { return t.narrow(0, from, count); };
    auto [values, features] = at::topk(part(codes), 11, 1);
    whole.add(part(x), part(y), part(codes));
    (from == 0 ? first : second).add(part(x), part(y), SparseCodes{features, values});
  }
  kept.set_state(second.state());
  first.merge(kept);
  at::Tensor e = x - y, centred = x - x.mean(0);
  for (const MetricsAccumulator* a : {&whole, &first}) {
    DictionaryMetrics m = a->result();
    EXPECT_EQ(m.tokens, 50);
    EXPECT_NEAR(m.l0, (codes > 0).sum(1).to(at::kDouble).mean().item<double>(), 1e-12);
    EXPECT_NEAR(m.fvu, ((e * e).sum() / (centred * centred).sum()).item<double>(), 1e-9);
    EXPECT_NEAR(m.explained_variance, 1 - m.fvu, 1e-15);
    EXPECT_NEAR(m.mse, (e * e).sum(1).mean().item<double>(), 1e-9);
    EXPECT_NEAR(m.cosine, ((x * y).sum(1) / (x.norm(2, 1) * y.norm(2, 1))).mean().item<double>(), 1e-12);
    EXPECT_NEAR(m.bias, ((y * y).sum() / (x * y).sum()).item<double>(), 1e-12);
    double dead = 0, dense = 0;
    for (int64_t f = 0; f < 11; ++f) {
      int64_t n = (codes.select(1, f) > 0).sum().item<int64_t>();
      EXPECT_EQ(a->fired()[f].item<int64_t>(), n);
      dead += n == 0;
      dense += n > 5;
    }
    EXPECT_GE(dead, 1);
    EXPECT_NEAR(m.dead, dead / 11, 1e-12);
    EXPECT_NEAR(m.dense, dense / 11, 1e-12);
    EXPECT_TRUE(close(a->mean(), x.mean(0), 1e-9, 0));
  }
  // γ is what makes x̂ / γ nearest to x.
  double g = whole.result().bias, at_g = (y / g - x).square().sum().item<double>();
  for (double other : {g * 0.999, g * 1.001}) EXPECT_GT((y / other - x).square().sum().item<double>(), at_g);
  EXPECT_TRUE(std::isnan(MetricsAccumulator(7, 11, c10::kCPU).result().fvu));
}

TEST(DictionaryMetrics, ShrunkReconstructionsHaveABiasBelowOne) {
  at::Tensor x = testing::wave({40, 5}, 1.0);
  MetricsAccumulator a(5, 1, c10::kCPU);
  a.add(x, x * 0.8, at::ones({40, 1}));
  EXPECT_NEAR(a.result().bias, 0.8, 1e-6);
  EXPECT_NEAR(a.result().cosine, 1, 1e-6);
}

class InPlace : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(InPlace, ExactDictionariesRecoverAllAndEmptyOnesNothing) {
  const Model& m = model_of(GetParam().first);
  const std::string point = GetParam().second;
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> text = {tokens_of(m), tokens_of(m, 2, 7, 8)};
  Progress progress;
  CrossEntropy good = cross_entropy_recovered(m, exact(m, point), text, progress);
  EXPECT_NEAR(good.recovered, 1, 1e-9);
  EXPECT_NEAR(good.recovered_mean, 1, 1e-9);
  EXPECT_NEAR(good.kl_recovered, 1, 1e-9);
  EXPECT_EQ(good.tokens, 3 * 8 + 2 * 6);
  Dictionary nothing = exact(m, point);
  nothing.weights["W_dec"].zero_();
  CrossEntropy bad = cross_entropy_recovered(m, nothing, text, progress);
  EXPECT_NEAR(bad.spliced, bad.zero, 1e-12);
  EXPECT_NEAR(bad.recovered, 0, 1e-9);
  EXPECT_GT(bad.kl_zero, 0);
  EXPECT_NEAR(bad.clean, good.clean, 1e-12);
}

TEST_P(InPlace, LossesAreThoseOfEditsByHand) {
  const Model& m = model_of(GetParam().first);
  const std::string point = GetParam().second;
  at::NoGradGuard no_grad;
  at::Tensor tokens = tokens_of(m);
  Dictionary d = made_for(m, point, point);
  HookPlan by_hand, zero, mean, capture;
  by_hand.edit(point, [&](const at::Tensor& v, int64_t) { return naive(d, v.flatten(2).flatten(0, 1)).out.view_as(v); });
  zero.edit(point, [](const at::Tensor& v, int64_t) { return at::zeros_like(v); });
  capture.capture(point);
  ForwardResult clean = m.forward(tokens, capture);
  at::Tensor average = clean.cache.get(point).mean(at::IntArrayRef{0, 1});
  mean.edit(point, [&](const at::Tensor& v, int64_t) { return average.expand_as(v); });
  Progress progress;
  CrossEntropy got = cross_entropy_recovered(m, d, {tokens}, progress);
  at::Tensor spliced = m.forward(tokens, by_hand).logits;
  EXPECT_NEAR(got.clean, cross_entropy(clean.logits, tokens), 1e-9);
  EXPECT_NEAR(got.spliced, cross_entropy(spliced, tokens), 1e-9);
  EXPECT_NEAR(got.zero, cross_entropy(m.forward(tokens, zero).logits, tokens), 1e-9);
  EXPECT_NEAR(got.mean, cross_entropy(m.forward(tokens, mean).logits, tokens), 1e-9);
  EXPECT_NEAR(got.kl_spliced, divergence(clean.logits, spliced), 1e-9);
  EXPECT_NEAR(got.recovered, (got.zero - got.spliced) / (got.zero - got.clean), 1e-12);
  // With the error kept nothing changes.
  HookPlan kept;
  splice(kept, std::make_shared<Dictionary>(d), true);
  EXPECT_TRUE(close(m.forward(tokens, kept).logits, clean.logits, 1e-8, 0));
}
INSTANTIATE_TEST_SUITE_P(Points, InPlace,
                         ::testing::Values(std::pair{"hf-llama", "blocks.1.hook_resid_post"}, std::pair{"hf-gpt2", "blocks.0.attn.hook_z"}, std::pair{"fla-gla", "blocks.1.hook_attn_out"},
                                           std::pair{"fla-hybrid-gated_deltanet-swa", "blocks.0.attn.hook_state_write"}),
                         [](const auto& i) { return "n" + std::to_string(i.index); });

TEST(Splice, PositionsBeforeFromAreLeftAlone) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  const std::string in = "blocks.1.mlp.hook_in", out = "blocks.1.hook_mlp_out";
  Dictionary d = made_for(m, in, out);
  at::Tensor tokens = tokens_of(m), read;
  HookPlan plan, by_hand;
  SpliceOptions o;
  o.from = 2;
  splice(plan, set_of({d}), o);
  by_hand.edit(in, [&](const at::Tensor& v, int64_t) { return read = v; });
  by_hand.edit(out, [&](const at::Tensor& v, int64_t) {
    at::Tensor y = naive(d, read.flatten(0, 1)).out.view_as(v);
    return at::cat({v.narrow(1, 0, 2), y.narrow(1, 2, v.size(1) - 2)}, 1);
  });
  EXPECT_TRUE(close(m.forward(tokens, plan).logits, m.forward(tokens, by_hand).logits, 1e-8, 0));
  // Token by token with kept state it is the same.
  RunState state;
  std::vector<at::Tensor> parts;
  for (int64_t t = 0; t < tokens.size(1); ++t) parts.push_back(m.forward(tokens.narrow(1, t, 1), plan, &state).logits);
  EXPECT_TRUE(close(at::cat(parts, 1), m.forward(tokens, by_hand).logits, 1e-7, 0));
}

TEST(Splice, LaterLayersGetWhatEarlierFeaturesWrite) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  std::vector<Dictionary> members;
  for (int64_t l = 0; l < 2; ++l) {
    const std::string b = "blocks." + std::to_string(l) + ".";
    members.push_back(made_for(m, b + "hook_resid_mid", b + "hook_mlp_out"));
  }
  members[0].weights["W_dec_later"] = testing::wave({1, members[0].config.d_sae, m.config().d_model}, 7, 0.1).to(m.device());
  at::Tensor tokens = tokens_of(m);
  for (std::vector<size_t> chosen : {std::vector<size_t>{}, {1}}) {
    HookPlan plan;
    splice(plan, set_of(members), {}, chosen);
    for (const char* p : {"blocks.0.hook_resid_mid", "blocks.1.hook_resid_mid", "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"}) plan.capture(p);
    ForwardResult r = m.forward(tokens, plan);
    auto at_point = [&](const char* p) { return r.cache.get(p).flatten(0, 1); };
    testing::Naive low = naive(members[0], at_point("blocks.0.hook_resid_mid")), high = naive(members[1], at_point("blocks.1.hook_resid_mid"));
    EXPECT_TRUE(close(at_point("blocks.1.hook_mlp_out"), high.out + at::matmul(low.codes, members[0].weights["W_dec_later"][0].to(at::kDouble)), 1e-9, 0));
    if (chosen.empty()) {
      EXPECT_TRUE(close(at_point("blocks.0.hook_mlp_out"), low.out, 1e-9, 0));
    } else {
      HookPlan plain;
      plain.capture("blocks.0.hook_mlp_out");
      EXPECT_TRUE(close(at_point("blocks.0.hook_mlp_out"), m.forward(tokens, plain).cache.get("blocks.0.hook_mlp_out").flatten(0, 1), 1e-12, 0));
    }
  }
}

TEST(Splice, WidthsThatDoNotFitAreNamed) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  Dictionary d = made_for(m, "blocks.1.hook_resid_post", "blocks.1.hook_resid_post");
  auto error = [&](const Dictionary& wrong) {
    Progress p;
    try {
      cross_entropy_recovered(m, wrong, {tokens_of(m)}, p);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  Dictionary narrow = made("standard");
  narrow.config.hook_in = narrow.config.hook_out = d.config.hook_in;
  EXPECT_NE(error(narrow).find("reads 6 numbers"), std::string::npos) << error(narrow);
  d.config.hook_in = d.config.hook_out = "blocks.1.attn.hook_pattern";
  EXPECT_NE(error(d).find("one vector a position"), std::string::npos) << error(d);
  d.config.hook_in = d.config.hook_out = "blocks.9.hook_resid_post";
  EXPECT_NE(error(d).find("blocks.9.hook_resid_post"), std::string::npos) << error(d);
}

TEST(DictionaryEval, GivesTheNumbersOfItsParts) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  Dictionary d = made_for(m, "blocks.1.hook_resid_post", "blocks.1.hook_resid_post");
  write_dictionaries(*set_of({d}), "saelens", folder / "sae");
  d = read_dictionaries(folder / "sae").members[0];
  // Two lengths, so that rows of several groups are put back in order.
  Dataset data = testing::dataset_of(testing::random_ids(3, 9, m.config().vocab_size, 5)), shorter = testing::dataset_of(testing::random_ids(2, 6, m.config().vocab_size, 8));
  data.pairs.insert(data.pairs.begin() + 1, shorter.pairs.begin(), shorter.pairs.end());
  AnalysisResult r = run_whole("dictionary_eval", m, data, {{"dictionary", folder / "sae"}, {"batch_size", "2"}});
  at::Tensor ce = array_of(r, "ce"), kl = array_of(r, "kl");
  ASSERT_EQ(ce.sizes(), (std::vector<int64_t>{1, 4, 5}));
  std::vector<at::Tensor> xs;
  double weighted = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < 5; ++i) {
    at::Tensor ids = at::tensor(data.pairs[static_cast<size_t>(i)].clean_ids, at::kLong).unsqueeze(0);
    HookPlan capture, spliced;
    capture.capture(d.config.hook_in);
    ForwardResult clean = m.forward(ids.to(m.device()), capture);
    xs.push_back(clean.cache.get(d.config.hook_in)[0].to(at::kCPU));
    splice(spliced, std::make_shared<Dictionary>(d), false);
    at::Tensor logits = m.forward(ids.to(m.device()), spliced).logits;
    EXPECT_NEAR(ce[0][0][i].item<double>(), cross_entropy(clean.logits, ids), 1e-9);
    EXPECT_NEAR(ce[0][1][i].item<double>(), cross_entropy(logits, ids), 1e-9);
    EXPECT_NEAR(kl[0][1][i].item<double>(), divergence(clean.logits, logits), 1e-9);
    weighted += cross_entropy(logits, ids) * static_cast<double>(ids.size(1) - 1);
    total += ids.size(1) - 1;
  }
  at::Tensor x = at::cat(xs), y = naive(d, x).out, centred = x - x.mean(0);
  EXPECT_NEAR(array_of(r, "fvu")[0].item<double>(), ((x - y).square().sum() / centred.square().sum()).item<double>(), 1e-9);
  EXPECT_NEAR(array_of(r, "l0")[0].item<double>(), (naive(d, x).codes > 0).sum(1).to(at::kDouble).mean().item<double>(), 1e-9);
  EXPECT_TRUE(close(array_of(r, "density")[0], (naive(d, x).codes > 0).to(at::kDouble).mean(0), 1e-6, 0));
  at::Tensor weights = at::tensor(std::vector<double>{8, 5, 5, 8, 8}, at::kDouble) / static_cast<double>(total);
  auto pooled = [&](int64_t variant) { return (ce[0][variant] * weights).sum().item<double>(); };
  EXPECT_NEAR(pooled(1), weighted / static_cast<double>(total), 1e-9);
  EXPECT_NEAR(value_of(r, "ce_recovered"), (pooled(2) - pooled(1)) / (pooled(2) - pooled(0)), 1e-9);
  EXPECT_NEAR(value_of(r, "ce_recovered_mean"), (pooled(3) - pooled(1)) / (pooled(3) - pooled(0)), 1e-9);
  EXPECT_LT(value_of(r, "kept_error_change"), 1e-9);
}

TEST(DictionaryEval, TranscodersAloneAndTogether) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  std::vector<Dictionary> members;
  for (int64_t l = 0; l < 2; ++l) {
    const std::string b = "blocks." + std::to_string(l) + ".";
    Dictionary d = made_for(m, b + "mlp.hook_in", b + "hook_mlp_out");
    d.config.name = "layer_" + std::to_string(l);
    members.push_back(d);
  }
  write_dictionaries(*set_of(members), "saelens", folder / "set");
  Dataset data = testing::dataset_of(testing::random_ids(4, 8, m.config().vocab_size, 3));
  AnalysisResult r = run_whole("dictionary_eval", m, data, {{"dictionary", folder / "set"}, {"mean_ablation", "false"}});
  at::Tensor ce = array_of(r, "ce");
  ASSERT_EQ(ce.size(0), 3);
  auto set = std::make_shared<const DictionarySet>(read_dictionaries(folder / "set"));
  at::Tensor tokens = testing::random_ids(4, 8, m.config().vocab_size, 3).to(m.device());
  for (int64_t choice = 0; choice < 3; ++choice) {
    HookPlan plan;
    splice(plan, set, {}, choice == 2 ? std::vector<size_t>{} : std::vector<size_t>{static_cast<size_t>(choice)});
    EXPECT_NEAR(ce[choice][1].mean().item<double>(), cross_entropy(m.forward(tokens, plan).logits, tokens), 1e-9) << choice;
  }
  EXPECT_GT((ce[2][1] - ce[0][1]).abs().max().item<double>(), 1e-6);
  EXPECT_TRUE(ce[0][3].isnan().all().item<bool>());
}

TEST(DictionaryEval, InputThatIsMissingIsNamed) {
  const Model& m = model_of("hf-llama");
  testing::TempFolder folder;
  write_dictionaries(*set_of({made_for(m, "blocks.1.hook_resid_post", "blocks.1.hook_resid_post")}), "saelens", folder / "sae");
  Dataset none, data = testing::dataset_of(testing::random_ids(2, 4, m.config().vocab_size, 3));
  auto error = [&](const Dataset& d, std::map<std::string, std::string> params) {
    try {
      run_whole("dictionary_eval", m, d, params);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error(data, {}).find("no dictionary is named"), std::string::npos) << error(data, {});
  EXPECT_NE(error(none, {{"dictionary", folder / "sae"}}).find("neither a corpus nor prompts"), std::string::npos);
  EXPECT_NE(error(data, {{"dictionary", folder / "sae"}, {"from", "9"}}).find("shorter than from"), std::string::npos);
  EXPECT_NE(error(data, {{"dictionary", folder / "none"}}), "");
}

}  // namespace
}  // namespace microtome
