// cd_t: on attention-only and parallel models against products of matrices, elsewhere against whole runs written out.
#include <gtest/gtest.h>

#include "analysis/engine/layers.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using engine::block_point;
using testing::array_of;
using testing::close;
using testing::run_whole;

std::unique_ptr<Model> load(const std::string& name) {
  return testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
}

Dataset prompts(const Model& model, int64_t length) {
  int64_t vocab = model.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, length, vocab, 5)), other = testing::dataset_of(testing::random_ids(3, length, vocab, 7));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].corrupted_ids = other.pairs[i].clean_ids;
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9)};
  }
  return d;
}

at::Tensor stacked(const Dataset& d, bool clean) {
  std::vector<at::Tensor> rows;
  for (const PromptPair& p : d.pairs) rows.push_back(at::tensor(clean ? p.clean_ids : p.corrupted_ids, at::kLong));
  return at::stack(rows);
}

ActivationCache capture(const Model& m, const at::Tensor& tokens, const std::vector<std::string>& names) {
  HookPlan plan;
  for (const std::string& n : names) plan.capture(n);
  return m.forward(tokens, plan).cache;
}

// logits [prompt, vocab] → answer minus wrong, each prompt.
at::Tensor difference(const Dataset& d, const at::Tensor& logits) {
  std::vector<at::Tensor> out;
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    at::Tensor row = logits[static_cast<int64_t>(i)];
    out.push_back(row[d.pairs[i].answer_ids[0]] - row[d.pairs[i].wrong_ids[0]]);
  }
  return at::stack(out);
}

// Two layers, one head each, no norms, no MLPs: every path is a product of matrices.
TEST(CdT, AttentionOnlyRelevanceIsAProductOfMatrices) {
  std::unique_ptr<Model> m = load("induction-2l-attn-only");
  Dataset d = prompts(*m, 8);
  for (const char* baseline : {"mean", "corrupted"}) {
    AnalysisResult r = run_whole("cd_t", *m, d, {{"baseline", baseline}, {"metric", "logit_diff"}}, 2);
    std::vector<std::string> names = {"blocks.0.hook_resid_pre"};
    for (const char* p : {"attn.hook_z", "attn.hook_pattern"})
      for (int64_t l : {0, 1}) names.push_back(block_point(l, p));
    ActivationCache clean = capture(*m, stacked(d, true), names), corrupted = capture(*m, stacked(d, false), names);
    auto deviation = [&](const std::string& name) {
      at::Tensor v = clean.get(name);
      return *baseline == 'm' ? v - v.mean(at::IntArrayRef{0, 1}, true) : v - corrupted.get(name);
    };
    auto weight = [&](int64_t l, const char* name) { return m->weights().get(block_point(l, std::string("attn.") + name)); };
    auto write = [&](int64_t l, const at::Tensor& z) { return at::linear(z.squeeze(2), weight(l, "o_proj.weight")); };          // z → residual
    auto read = [&](int64_t l, const at::Tensor& x) {                                                                           // residual → z
      return at::matmul(clean.get(block_point(l, "attn.hook_pattern")).squeeze(1), at::linear(x, weight(l, "v_proj.weight"))).unsqueeze(2);
    };
    const at::Tensor& u = m->weights().get(m->config().tied_unembedding ? "embed.weight" : "unembed.weight");
    auto logits = [&](const at::Tensor& x) { return difference(d, at::linear(x.select(1, 7), u)) * m->config().logit_scale; };
    auto share = [&](int64_t l, const at::Tensor& z) {
      at::Tensor whole = clean.get(block_point(l, "attn.hook_z"));
      return (z.flatten(1).norm(2, {1}) / whole.flatten(1).norm(2, {1})).mean().item<double>();
    };
    at::Tensor got = array_of(r, "relevance_prompts");
    at::Tensor z1 = deviation("blocks.1.attn.hook_z");
    EXPECT_TRUE(close(got[1][0], logits(write(1, z1)), 1e-9, 1e-7)) << baseline;
    at::Tensor x0 = write(0, deviation("blocks.0.attn.hook_z")), through = read(1, x0);
    EXPECT_TRUE(close(got[0][0], logits(x0 + write(1, through)), 1e-9, 1e-7)) << baseline;
    EXPECT_NEAR(array_of(r, "to_heads")[0][0][1][0].item<double>(), share(1, through), 1e-6);
    // Everything relevant: what enters the first layer, through both layers.
    at::Tensor e = deviation("blocks.0.hook_resid_pre"), first = read(0, e), x1 = e + write(0, first), second = read(1, x1);
    EXPECT_TRUE(close(array_of(r, "relevance_input"), logits(x1 + write(1, second)), 1e-9, 1e-7)) << baseline;
    EXPECT_NEAR(array_of(r, "input_to_heads")[0][0].item<double>(), share(0, first), 1e-6);
    EXPECT_NEAR(array_of(r, "input_to_heads")[1][0].item<double>(), share(1, second), 1e-6);
    EXPECT_TRUE(std::isnan(array_of(r, "to_heads")[1][0][1][0].item<double>()));
  }
}

// In a parallel block the last layer's parts reach the logits only directly, so their relevance is their direct effect.
TEST(CdT, LastLayerOfAParallelBlockIsItsDirectEffect) {
  std::unique_ptr<Model> m = load("tiny-stablelm-parallel");
  Dataset d = prompts(*m, 7);
  int64_t last = engine::layer_count(*m) - 1;
  AnalysisResult r = run_whole("cd_t", *m, d, {{"metric", "logit_diff"}});
  std::vector<std::string> names = {block_point(last, "attn.hook_result"), block_point(last, "hook_mlp_out"), block_point(last, "hook_resid_post")};
  ActivationCache c = capture(*m, stacked(d, true), names);
  at::Tensor scale = engine::final_scale(*m, c.get(names[2]).select(1, 6));
  auto direct = [&](const at::Tensor& x) {
    at::Tensor dev = x - x.mean(at::IntArrayRef{0, 1}, true);
    return difference(d, engine::direct_logits(*m, dev.select(1, 6)) / scale);
  };
  for (int64_t h = 0; h < m->mixer_info(last).heads; ++h)
    EXPECT_TRUE(close(array_of(r, "relevance_prompts")[last][h], direct(c.get(names[0]).select(2, h)), 1e-9, 1e-7)) << h;
  EXPECT_TRUE(close(array_of(r, "relevance_mlps_prompts")[last], direct(c.get(names[1])), 1e-9, 1e-7));
}

class CdTModels : public ::testing::TestWithParam<const char*> {};

TEST_P(CdTModels, IsADifferenceOfWholeRuns) {
  std::unique_ptr<Model> m = load(GetParam());
  Dataset d = prompts(*m, 8);
  int64_t layers = engine::layer_count(*m);
  AnalysisResult r = run_whole("cd_t", *m, d, {{"baseline", "corrupted"}, {"metric", "logit_diff"}}, 4);
  at::Tensor clean = stacked(d, true);
  std::vector<std::string> held, all;
  for (int64_t l = 0; l < layers; ++l) {
    for (const char* p : {"attn.hook_pattern", "attn.hook_gate", "ln1.hook_scale", "ln2.hook_scale", "ln1_post.hook_scale", "ln2_post.hook_scale"})
      if (engine::has_point(*m, l, p)) held.push_back(block_point(l, p));
    all.push_back(block_point(l, "attn.hook_z"));
    all.push_back(block_point(l, "hook_mlp_out"));
  }
  held.push_back("ln_final.hook_scale");
  all.insert(all.end(), held.begin(), held.end());
  ActivationCache whole = capture(*m, clean, all), other = capture(*m, stacked(d, false), all);
  at::Tensor base = difference(d, m->forward(clean).logits.select(1, 7));
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t s : {int64_t{0}, m->mixer_info(l).heads - 1, int64_t{-1}}) {
      HookPlan plan;
      for (const std::string& n : held) plan.edit(n, [v = whole.get(n)](const at::Tensor&, int64_t) { return v; });
      std::string name = block_point(l, s < 0 ? "hook_mlp_out" : "attn.hook_z");
      at::Tensor value = whole.get(name).clone();
      if (s < 0) value = other.get(name);
      else value.select(2, s).copy_(other.get(name).select(2, s));
      plan.edit(name, [value](const at::Tensor&, int64_t) { return value; });
      plan.capture("blocks.*.attn.hook_z");
      ForwardResult run = m->forward(clean, plan);
      at::Tensor want = base - difference(d, run.logits.select(1, 7));
      at::Tensor got = s < 0 ? array_of(r, "relevance_mlps_prompts")[l] : array_of(r, "relevance_prompts")[l][s];
      EXPECT_TRUE(close(got, want, 1e-7, 1e-6)) << l << "." << s;
      for (int64_t t = l + 1; t < layers; ++t) {
        std::string z = block_point(t, "attn.hook_z");
        at::Tensor part = (whole.get(z) - run.cache.get(z)).square().sum(at::IntArrayRef{1, 3}).sqrt() / whole.get(z).square().sum(at::IntArrayRef{1, 3}).sqrt();
        at::Tensor shares = s < 0 ? array_of(r, "mlps_to_heads")[l][t] : array_of(r, "to_heads")[l][s][t];
        EXPECT_TRUE(close(shares.narrow(0, 0, part.size(1)), part.mean(0), 1e-6, 1e-5)) << l << "." << s << " to " << t;
      }
    }
}
INSTANTIATE_TEST_SUITE_P(Models, CdTModels, ::testing::Values("hf-gpt2", "tiny-gemma2", "fla-hybrid-gated_deltanet-swa", "fla-gla"), [](const auto& i) {
  std::string n = i.param;
  std::replace(n.begin(), n.end(), '-', '_');
  return n;
});

TEST(CdT, CircuitFollowsTheThresholds) {
  std::unique_ptr<Model> m = load("hf-llama");
  Dataset d = prompts(*m, 8);
  auto circuit = [&](const std::map<std::string, std::string>& params) {
    AnalysisResult r = run_whole("cd_t", *m, d, params);
    for (const Artifact& a : r.artifacts)
      if (const auto* c = std::get_if<Circuit>(&a)) return *c;
    throw Error(StatusCode::kNotFound, "no circuit");
  };
  AnalysisResult r = run_whole("cd_t", *m, d);
  at::Tensor heads = array_of(r, "relevance").abs(), mlps = array_of(r, "relevance_mlps").abs();
  double largest = std::max(heads.max().item<double>(), mlps.max().item<double>());
  int64_t want = (heads >= 0.5 * largest).sum().item<int64_t>() + (mlps >= 0.5 * largest).sum().item<int64_t>(), have = 0;
  Circuit one = circuit({{"rounds", "1"}, {"threshold", "0.5"}, {"max_sources", "100"}});
  for (const Circuit::Edge& e : one.edges) have += e.in_graph;
  EXPECT_EQ(have, want);
  for (const Circuit::Edge& e : one.edges) EXPECT_EQ(e.to, "logits");
  Circuit two = circuit({{"rounds", "2"}, {"threshold", "0.5"}, {"head_threshold", "0.1"}, {"max_sources", "100"}});
  int64_t deeper = 0;
  for (const Circuit::Edge& e : two.edges) {
    if (e.to == "logits") continue;
    ++deeper;
    EXPECT_EQ(e.in_graph, e.score >= 0.1);
    // Its target is a head of the first round.
    bool found = false;
    for (const Circuit::Edge& f : one.edges) found = found || (f.in_graph && f.from + "<v>" == e.to);
    EXPECT_TRUE(found) << e.to;
  }
  EXPECT_GT(deeper, 0);
}

}  // namespace
}  // namespace microtome
