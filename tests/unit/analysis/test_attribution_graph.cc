// The frozen replacement model against the model itself, its rows against autograd through the model and against single sources
// taken away, edges against interventions, and the analysis from item to item.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <tuple>

#include "analysis/attribution_graph/edge_tests.h"
#include "analysis/attribution_graph/groups.h"
#include "core/model/weights.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"
#include "tests/unit/analysis/feature_circuit_samples.h"

namespace microtome {
namespace {

using namespace analyses;
using namespace feature_circuit;
using testing::random_transcoders;
using testing::TranscoderSample;

std::vector<int64_t> prompt(const Model& model, int64_t length, uint64_t seed) {
  at::Tensor ids = testing::random_ids(1, length, model.config().vocab_size, seed);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + length};
}

std::vector<int64_t> some_targets(const NodeIndex& n, int64_t every) {
  std::vector<int64_t> out;
  for (int64_t t = 0; t < n.feature_count(); t += every) out.push_back(t);
  for (int64_t i = 0; i < n.logit_count(); ++i) out.push_back(n.logit(i));
  return out;
}

struct Case { const char* model; TranscoderSample transcoders; };
std::vector<Case> cases() {
  TranscoderSample plain, skip, stream, divided, cross, one;
  skip.skip = true;
  stream.point = "hook_resid_mid";
  divided.point = "ln2.hook_normalized";
  cross.cross_layer = true;
  one.layers = {1};
  return {{"golden/models/hf-llama", plain}, {"golden/models/hf-llama", skip}, {"golden/models/hf-llama", cross}, {"golden/models/hf-llama", one},
          {"golden/models/hf-gpt2", stream}, {"golden/models/hf-gpt2", divided}, {"golden/models/tiny-gptj", skip}, {"golden/models/tiny-gemma2", skip},
          {"golden/models/tiny-olmo-clip", plain}, {"golden/models/tiny-stablelm-parallel", plain},
          {"golden/models/fla-gated_deltanet", plain}, {"golden/models/fla-gated_deltanet", skip}, {"golden/models/fla-gated_deltanet-gva-negeig", cross},
          {"golden/models/fla-gated_deltaproduct", plain}, {"golden/models/fla-hybrid-gated_deltanet-swa", plain}, {"golden/models/fla-gla", plain},
          {"golden/models/fla-retnet", plain}, {"golden/models/fla-kda", plain}, {"golden/models/fla-forgetting_transformer", plain}};
}

class Frozen : public ::testing::TestWithParam<size_t> {};

TEST_P(Frozen, GivesWhatTheModelGivesAndAddsUp) {
  const Case c = cases()[GetParam()];
  auto model = testing::load_test_model(testing::golden_path(c.model));
  const TranscoderLayers layers(*model, random_transcoders(*model, c.transcoders));
  for (bool leave_out : {false, true}) {
    FrozenOptions options;
    options.leave_out_first = leave_out;
    options.max_logits = 3;
    const FrozenModel frozen(*model, prompt(*model, 11, 3), layers, options);
    const NodeIndex& n = frozen.nodes();
    ASSERT_GT(n.feature_count(), 10);
    const FrozenModel::Values all = frozen.run(), bare = frozen.run({{}, false, false, false});
    EXPECT_TRUE(testing::close(all.last, frozen.model_values().last, 1e-4, 1e-4));
    for (int64_t l = 0; l < n.layers(); ++l)
      if (layers.has(l)) EXPECT_TRUE(testing::close(all.read[static_cast<size_t>(l)], frozen.model_values().read[static_cast<size_t>(l)], 1e-4, 1e-4)) << l;
    // A target's value is the sum of its edges and of what constants add: biases, positions.
    const std::vector<int64_t> targets = some_targets(n, 7);
    const auto rows = frozen.attribute(targets);
    for (size_t i = 0; i < targets.size(); ++i) {
      double sum = frozen.value(targets[i], bare), size = 1;
      for (float v : rows[i]) {
        sum += static_cast<double>(v);
        size += std::fabs(static_cast<double>(v));
      }
      EXPECT_NEAR(sum, frozen.value(targets[i], frozen.model_values()), 1e-4 * size) << c.model << " target " << targets[i];
    }
    // The features of position 0 are in or out as asked.
    bool first = false;
    for (const ActiveFeature& f : n.features()) first = first || f.position == 0;
    EXPECT_EQ(first, !leave_out);
    // Single sources, taken away one by one.
    const int64_t last = n.logit(0);
    std::map<int64_t, float> row;
    size_t at = 0;
    const std::vector<float>& numbers = rows[targets.size() - static_cast<size_t>(n.logit_count())];
    for (const auto& [from, count] : n.runs(last))
      for (int64_t k = 0; k < count; ++k) row[from + k] = numbers[at++];
    for (int64_t s = 0; s < n.feature_count(); s += std::max<int64_t>(1, n.feature_count() / 9)) {
      FrozenModel::Change change;
      change.activations[s] = 0;
      EXPECT_NEAR(frozen.value(last, all) - frozen.value(last, frozen.run(change)), static_cast<double>(row[s]), 2e-4) << c.model << " feature " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Frozen, ::testing::Range<size_t>(0, cases().size()), [](const auto& i) {
  std::string name = std::to_string(i.param) + std::string(cases()[i.param].model).substr(14);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

// Rows by autograd through the model itself: scales, patterns and MLP outputs held, everything else as the model has it.
TEST(FrozenModel, RowsAreTheDerivativesOfTheModelWithItsPatternsHeld) {
  for (const char* name : {"golden/models/hf-llama", "golden/models/hf-gpt2", "golden/models/tiny-gemma2"}) {
    auto model = testing::load_test_model(testing::golden_path(name));
    const TranscoderLayers layers(*model, random_transcoders(*model, {}));
    const std::vector<int64_t> tokens = prompt(*model, 9, 8);
    const FrozenModel frozen(*model, tokens, layers, {});
    const NodeIndex& n = frozen.nodes();
    HookPlan plan;
    std::vector<std::string> leaves = {"hook_embed"};
    plan.capture("hook_embed", {}, true).capture("unembed.hook_in", {}, true);
    const Edit hold = [](const at::Tensor& v, int64_t) { return v.detach(); };
    plan.edit("blocks.*.ln*.hook_scale", hold).edit("ln_final.hook_scale", hold).edit("blocks.*.attn.hook_pattern", hold).edit("blocks.*.hook_mlp_out", hold);
    for (int64_t l = 0; l < n.layers(); ++l) {
      const std::string out = "blocks." + std::to_string(l) + ".hook_mlp_out";
      plan.capture(out, {}, true).capture(layers.read_hook(l), {}, true);
      leaves.push_back(out);
    }
    at::AutoGradMode on(true);
    ForwardResult run = model->forward(at::tensor(tokens).unsqueeze(0), plan);
    for (int64_t t : some_targets(n, std::max<int64_t>(1, n.feature_count() / 6))) {
      const std::string point = n.is_logit(t) ? "unembed.hook_in" : layers.read_hook(n.layer_of(t));
      at::Tensor metric = (run.cache.get(point).select(0, 0).select(0, n.position_of(t)) * frozen.reading(t)).sum();
      auto gradients = hook_gradients(metric, run.cache, leaves, true);
      at::NoGradGuard off;
      const std::vector<float> row = frozen.attribute({t})[0];
      size_t i = 0;
      for (const auto& [first, count] : n.runs(t))
        for (int64_t k = 0; k < count; ++k) {
          const int64_t s = first + k, p = n.position_of(s);
          at::Tensor g = gradients.at(n.is_token(s) ? "hook_embed" : "blocks." + std::to_string(n.layer_of(s)) + ".hook_mlp_out")[0][p];
          at::Tensor source = n.is_token(s) ? frozen.embeddings()[p] : n.is_error(s) ? frozen.errors(n.layer_of(s))[p] : frozen.write(s, n.layer_of(s));
          ASSERT_NEAR(static_cast<double>(row[i++]), (g * source).sum().item<double>(), 2e-4) << name << " " << s << " → " << t;
        }
    }
  }
}

TEST(FrozenModel, FeaturesBeyondTheLimitStayInTheErrors) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  const TranscoderLayers layers(*model, random_transcoders(*model, {}));
  FrozenOptions few;
  few.max_features = 20;
  const FrozenModel all(*model, prompt(*model, 8, 2), layers, {}), some(*model, prompt(*model, 8, 2), layers, few);
  EXPECT_EQ(some.nodes().feature_count(), 20);
  EXPECT_EQ(some.left_in_errors(), all.nodes().feature_count() - 20);
  EXPECT_TRUE(testing::close(some.run().last, all.run().last, 1e-4, 1e-4));
  std::set<std::tuple<int64_t, int64_t, int64_t>> known;
  for (const ActiveFeature& f : all.nodes().features()) known.insert({f.layer, f.position, f.feature});
  for (const ActiveFeature& f : some.nodes().features()) EXPECT_TRUE(known.count({f.layer, f.position, f.feature}));
}

TEST(FrozenModel, SaysWhatItCannotFreeze) {
  auto refused = [](const char* name, StatusCode code, const TranscoderSample& s, const std::function<void(DictionarySet&)>& change = {}) {
    auto model = testing::load_test_model(testing::golden_path(name));
    DictionarySet set = random_transcoders(*model, s);
    if (change) change(set);
    try {
      const TranscoderLayers layers(*model, set);
      FrozenModel(*model, prompt(*model, 6, 1), layers, {});
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), code) << e.what();
    }
  };
  refused("golden/models/fla-rwkv6", StatusCode::kUnsupported, {});
  refused("golden/models/tiny-opt-postnorm", StatusCode::kUnsupported, {});
  refused("golden/models/hf-llama", StatusCode::kBadInput, {}, [](DictionarySet& s) { s.members[0].config.hook_in = "blocks.99.mlp.hook_in"; });
  refused("golden/models/hf-llama", StatusCode::kBadInput, {}, [](DictionarySet& s) { s.members[0].config.transcoder = false; });
  refused("golden/models/hf-llama", StatusCode::kBadInput, {}, [](DictionarySet& s) { s.members[0].config.hook_out = "blocks.0.hook_attn_out"; });
  refused("golden/models/hf-llama", StatusCode::kBadInput, {}, [](DictionarySet& s) { s.members.push_back(s.members[0]); });
  refused("golden/models/hf-llama", StatusCode::kUnsupported, {}, [](DictionarySet& s) { s.members[0].config.normalize = "layer_norm"; });
}

GraphOptions small_options() {
  GraphOptions o;
  o.max_features = 8192;
  o.prune = {0.9999, 0.9999, 0, 0};            // random features bear on little
  return o;
}

std::unique_ptr<GraphBuild> whole(const Model& model, const std::vector<int64_t>& tokens, const TranscoderLayers& layers, const GraphOptions& o, int64_t batch) {
  auto build = std::make_unique<GraphBuild>(model, tokens, layers, o);
  Progress progress;
  for (int64_t b = 0;; ++b) {
    std::vector<int64_t> targets = build->block(b);
    if (targets.empty()) break;
    build->compute(targets, batch, progress);
  }
  return build;
}

TEST(GraphBuild, BatchesGiveTheSameRows) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"));
  const TranscoderLayers layers(*model, random_transcoders(*model, {}));
  const std::vector<int64_t> tokens = prompt(*model, 12, 4);
  auto one = whole(*model, tokens, layers, small_options(), 1), many = whole(*model, tokens, layers, small_options(), 50);
  ASSERT_EQ(one->rows().rows(), many->rows().rows());
  EXPECT_EQ(one->rows().rows(), one->nodes().feature_count() + one->nodes().logit_count());
  for (int64_t r = 0; r < one->rows().rows(); ++r) {
    const std::vector<float> a = one->rows().read(r), b = many->rows().read(many->rows().row_of(one->rows().target(r)));
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4);
  }
}

TEST(GraphBuild, PhasesTakeTheMostInfluentialFirst) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  TranscoderSample many;
  many.d_sae = 200;
  const TranscoderLayers layers(*model, random_transcoders(*model, many));
  GraphOptions o;
  o.max_features = 600;
  const std::vector<int64_t> tokens = prompt(*model, 12, 4);
  GraphBuild build(*model, tokens, layers, o);
  ASSERT_GT(build.nodes().feature_count(), 1100);
  Progress progress;
  build.compute(build.block(0), 8, progress);
  // After the logits alone, a feature's influence is its share of their rows.
  const Influence now = influence(build.rows(), build.frozen().logit_p());
  const std::vector<int64_t> first = build.block(1);
  EXPECT_EQ(first.size(), 512u);
  double least = 1e9, most_left = 0;
  for (int64_t n = 0; n < build.nodes().feature_count(); ++n) {
    const double v = now.nodes[static_cast<size_t>(n)];
    if (std::binary_search(first.begin(), first.end(), n)) least = std::min(least, v);
    else most_left = std::max(most_left, v);
  }
  EXPECT_GE(least, most_left);
  build.compute(first, 64, progress);
  const std::vector<int64_t> second = build.block(2);
  EXPECT_EQ(second.size(), 600u - 512u);
  for (int64_t n : second) EXPECT_FALSE(build.rows().has(n));
  build.compute(second, 64, progress);
  EXPECT_TRUE(build.block(3).empty());
  // Features without a row are no part of the graph.
  const GraphBuild::Outcome& out = build.outcome();
  for (const KeptEdge& e : out.pruned.edges)
    if (build.nodes().is_feature(e.from)) EXPECT_TRUE(build.rows().has(e.from));
}

TEST(EdgeTests, WithEverythingFrozenTheChangeIsTheEdge) {
  for (const char* name : {"golden/models/hf-llama", "golden/models/fla-gated_deltanet", "golden/models/tiny-gemma2"}) {
    auto model = testing::load_test_model(testing::golden_path(name));
    TranscoderSample skip;
    skip.skip = true;
    const TranscoderLayers layers(*model, random_transcoders(*model, skip));
    const std::vector<int64_t> tokens = prompt(*model, 9, 6);
    auto build = whole(*model, tokens, layers, small_options(), 16);
    const std::vector<KeptEdge> edges = edges_to_test(*build, 8);
    ASSERT_EQ(edges.size(), 8u) << name;
    for (const KeptEdge& e : edges) {
      EXPECT_TRUE(build->nodes().is_feature(e.from));
      const EdgeTest t = test_edge(*build, tokens, e, MixerForm::kAuto);
      EXPECT_EQ(t.predicted, -static_cast<double>(e.weight));
      EXPECT_NEAR(t.frozen, t.predicted, 1e-4 * (1 + std::fabs(t.predicted))) << name;
    }
  }
}

// In a model whose MLPs write nothing and whose norms divide by nothing, taking a feature away with attention frozen changes the
// target by exactly the edge and all paths over skipless features: here there are none between.
TEST(EdgeTests, TheModelItselfAgreesWhereItIsLinear) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"), at::kFloat, [](ModelConfig& c) {
    for (LayerConfig& l : c.layers) l.norm1.kind = l.norm2.kind = NormConfig::Kind::kNone;
    c.final_norm.kind = NormConfig::Kind::kNone;
  });
  TranscoderSample last;
  const int64_t layers_ = static_cast<int64_t>(model->config().layers.size());
  last.layers = {layers_ - 1};
  const TranscoderLayers layers(*model, random_transcoders(*model, last));
  const std::vector<int64_t> tokens = prompt(*model, 9, 6);
  auto build = whole(*model, tokens, layers, small_options(), 16);
  const std::vector<KeptEdge> edges = edges_to_test(*build, 5);
  ASSERT_FALSE(edges.empty());
  for (const KeptEdge& e : edges) {
    const EdgeTest t = test_edge(*build, tokens, e, MixerForm::kAuto);
    EXPECT_NEAR(t.attention_frozen, t.predicted, 1e-3 * (1 + std::fabs(t.predicted)));
    EXPECT_NEAR(t.predicted_total, t.predicted, 1e-6 * (1 + std::fabs(t.predicted)));
  }
}

TEST(EdgeTests, AllPathsAreThePowerSeries) {
  const testing::GraphSample g(4, 5, 40, 2, 3);
  // change of a target = Σ over paths of products of A[t, s] / activation(s), from the source's activation on.
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  const TranscoderLayers layers(*model, random_transcoders(*model, {}));
  auto build = whole(*model, prompt(*model, 6, 6), layers, small_options(), 16);
  const NodeIndex& n = build->nodes();
  const int64_t f = n.feature_count();
  at::Tensor a = at::zeros({f + 1, f}, at::kDouble);       // last row: the first logit
  for (int64_t r = 0; r < build->rows().rows(); ++r) {
    const int64_t t = build->rows().target(r);
    if (t != n.logit(0) && !n.is_feature(t)) continue;
    build->rows().each(r, [&](int64_t s, float v) { if (n.is_feature(s)) a[n.is_logit(t) ? f : t][s] = static_cast<double>(v) / static_cast<double>(n.feature(s).activation); });
  }
  at::Tensor inner = a.narrow(0, 0, f), total = at::linalg_inv(at::eye(f, at::kDouble) - inner);
  at::Tensor to_logit = at::matmul(a[f], total);
  for (int64_t s = 0; s < f; s += std::max<int64_t>(1, f / 7))
    EXPECT_NEAR(predicted_total(*build, s, n.logit(0)), -to_logit[s].item<double>() * static_cast<double>(n.feature(s).activation), 1e-6);
}

TEST(Groups, ByDirectionByTokenAndByFile) {
  AttributionGraph g;
  g.n_layers = 2;
  using Kind = AttributionGraph::Kind;
  g.nodes = {{Kind::kToken, -1, 0, 5, 0, 0.1, true, ""}, {Kind::kFeature, 0, 0, 3, 1, 0.9, true, ""}, {Kind::kFeature, 1, 0, 4, 1, 0.5, true, ""},
             {Kind::kFeature, 1, 1, 4, 1, 0.4, true, ""}, {Kind::kFeature, 1, 1, 8, 1, 0.3, true, ""}};
  at::Tensor x = at::tensor({1.f, 0.f}), y = at::tensor({0.f, 2.f}), near = at::tensor({0.9f, 0.1f});
  const std::vector<at::Tensor> writes = {{}, x, y, y * 3, near};
  const std::vector<std::string> tokens = {"", "a", "b", "b", "a"};
  const auto groups = groups_by_direction(g, writes, tokens, 0.8);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].nodes, (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(groups[1].nodes, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(groups[1].name, "→ b");
  EXPECT_EQ(groups_by_direction(g, writes, tokens, 0.9999).size(), 1u);
  const auto by_token = groups_by_token(g, tokens);
  ASSERT_EQ(by_token.size(), 2u);
  EXPECT_EQ(by_token[0].nodes, (std::vector<int64_t>{1, 4}));
  const std::string path = ::testing::TempDir() + "/groups.json";
  std::ofstream(path) << R"([["mine", "1_4_0", "E_5_0", "9_9_9"], ["gone", "7_7_7"]])";
  const auto read = groups_of_file(path, g);
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].name, "mine");
  EXPECT_EQ(read[0].nodes, (std::vector<int64_t>{2, 0}));
  std::ofstream(path) << R"({"no": 1})";
  EXPECT_THROW(groups_of_file(path, g), Error);
}

TEST(Correlation, IsPearsons) {
  EXPECT_NEAR(correlation({1, 2, 3, 4}, {2, 4, 6, 8.5}), 0.99846, 1e-4);
  EXPECT_NEAR(correlation({1, 2, 3}, {3, 2, 1}), -1, 1e-12);
  EXPECT_TRUE(std::isnan(correlation({1, 2}, {1, 2})));
  EXPECT_TRUE(std::isnan(correlation({1, 1, 1}, {1, 2, 3})));
}

}  // namespace
}  // namespace microtome
