// attribution_graph and transcoder_circuit from item to item: going on after a stop, what results hold, and paths whose steps
// are known.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "analysis/transcoder_circuit/paths.h"
#include "core/dictionary/formats/format.h"
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

// Random transcoders of a model in a folder of their own.
struct Stored {
  std::string path = (std::filesystem::temp_directory_path() / ("microtome-transcoders-" + std::to_string(::getpid()))).string();
  explicit Stored(const DictionarySet& set) {
    std::filesystem::remove_all(path);
    write_dictionaries(set, "saelens", path);
  }
  ~Stored() { std::filesystem::remove_all(path); }
};

Dataset prompts(const Model& model, int64_t rows, int64_t length) {
  Dataset d = testing::dataset_of(testing::random_ids(rows, length, model.config().vocab_size, 5));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].answer_ids = {3 + static_cast<int64_t>(i)};
    d.pairs[i].wrong_ids = {20, 21};
  }
  return d;
}

// Items first … last are made by a run of their own that has seen what was stored before.
std::vector<std::vector<NamedArray>> items_of(const std::string& analysis, const Model& model, const Dataset& data, const std::map<std::string, std::string>& params,
                                              const std::vector<int64_t>& stops, AnalysisResult* result) {
  at::NoGradGuard no_grad;
  const AnalysisKind* kind = builtin().find(analysis);
  AnalysisInput input{model, nullptr, data, resolve_params(kind->schema, params).value(), 0, MixerForm::kAuto};
  std::unique_ptr<AnalysisRun> run = kind->start(input);
  run->set_batch(8);
  Progress progress;
  std::vector<std::vector<NamedArray>> items(static_cast<size_t>(run->item_count()));
  for (int64_t i = 0; i < run->item_count(); ++i) {
    if (std::find(stops.begin(), stops.end(), i) != stops.end()) {
      run = kind->start(input);
      run->set_batch(8);
    }
    run->before_item(i, items);
    items[static_cast<size_t>(i)] = run->run_item(i, progress);
  }
  *result = run->finish(items);
  return items;
}

const AttributionGraph& graph_of(const AnalysisResult& r) {
  for (const Artifact& a : r.artifacts)
    if (const auto* g = std::get_if<AttributionGraph>(&a)) return *g;
  throw Error(StatusCode::kNotFound, "no graph");
}

std::string numbers(const AttributionGraph& g) {
  std::string out;
  const auto add = [&](double v) { out.append(reinterpret_cast<const char*>(&v), sizeof v); };
  for (const auto& n : g.nodes) {
    add(static_cast<double>(n.feature));
    add(n.influence);
    add(n.activation);
  }
  for (const auto& e : g.edges) {
    add(static_cast<double>(e.from * 100000 + e.to));
    add(e.weight);
  }
  return out;
}

TEST(AttributionGraphRun, GoesOnWithTheSameBits) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"));
  if (!model->device().is_cpu()) GTEST_SKIP() << "a GPU adds into shared cells in no fixed order; its numbers agree to rounding";
  testing::TranscoderSample many;
  many.d_sae = 300;
  const Stored stored(random_transcoders(*model, many));
  const Dataset data = prompts(*model, 2, 12);
  std::map<std::string, std::string> params = {{"transcoders", stored.path}, {"max_features", "1100"}, {"graphs", "2"}, {"test_edges", "3"}, {"max_nodes", "60"}};
  AnalysisResult whole, parts, unstored;
  const auto a = items_of("attribution_graph", *model, data, params, {}, &whole);
  const auto b = items_of("attribution_graph", *model, data, params, {2, 4, 7}, &parts);
  params["stored_rows"] = "0";
  const auto c = items_of("attribution_graph", *model, data, params, {1, 3, 8}, &unstored);
  EXPECT_EQ(a.size(), 2u * (1 + 3 + 1));                    // a prompt: logits, three blocks of 512, tests
  EXPECT_EQ(numbers(graph_of(whole)), numbers(graph_of(parts)));
  EXPECT_EQ(numbers(graph_of(whole)), numbers(graph_of(unstored)));
  // Rows that may not be stored are not.
  EXPECT_GT(engine::find_array(a[1], "rows").size(), 0);
  EXPECT_EQ(engine::find_array(c[1], "rows").size(), 0);
  EXPECT_EQ(engine::to_tensor(engine::find_array(c[2], "targets")).numel(), 512);
  ASSERT_EQ(whole.summary.size(), parts.summary.size());
  for (size_t i = 0; i < whole.summary.size(); ++i) EXPECT_EQ(whole.summary[i].value, parts.summary[i].value) << whole.summary[i].name;
}

// An edge that is named is tested, whichever it is; its row says which edge of the graph it is, and its prediction is minus the weight.
TEST(AttributionGraphRun, NamedEdgesAreTested) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  const Stored stored(random_transcoders(*model, {}));
  const Dataset data = prompts(*model, 1, 10);
  std::map<std::string, std::string> params = {{"transcoders", stored.path}, {"node_threshold", "0.9999"}, {"edge_threshold", "0.9999"}, {"max_nodes", "400"}, {"test_edges", "2"}};
  const AttributionGraph g = graph_of(testing::run_whole("attribution_graph", *model, data, params));
  auto name = [&](const AttributionGraph::Edge& e) {
    const auto &from = g.nodes[static_cast<size_t>(e.from)], &to = g.nodes[static_cast<size_t>(e.to)];
    auto feature = [](const AttributionGraph::Node& n) { return std::to_string(n.layer) + "." + std::to_string(n.feature) + "@" + std::to_string(n.position); };
    return feature(from) + ">" + (to.kind == AttributionGraph::Kind::kLogit ? std::to_string(to.feature) : feature(to));
  };
  // The weakest of all, and the weakest to a feature where there is one: no run tests these of its own accord.
  std::vector<AttributionGraph::Edge> all, wanted;
  for (const auto& e : g.edges)
    if (g.nodes[static_cast<size_t>(e.from)].kind == AttributionGraph::Kind::kFeature) all.push_back(e);
  ASSERT_GT(all.size(), 6u);
  wanted = {all.back(), all[all.size() - 2]};
  for (size_t i = 0, inner = 0; i + 1 < all.size(); ++i)
    if (g.nodes[static_cast<size_t>(all[i].to)].kind == AttributionGraph::Kind::kFeature && ++inner > 2) wanted[1] = all[i];
  params["edges"] = name(wanted[0]) + ", " + name(wanted[1]);
  const AnalysisResult r = testing::run_whole("attribution_graph", *model, data, params);
  const Table* t = nullptr;
  for (const Artifact& a : r.artifacts)
    if (const auto* table = std::get_if<Table>(&a); table && table->name.ends_with("tested edges")) t = table;
  ASSERT_TRUE(t);
  ASSERT_EQ(t->rows.size(), 4u);
  auto column = [&](const std::string& c) { return static_cast<size_t>(std::find_if(t->columns.begin(), t->columns.end(), [&](const Column& x) { return x.name == c; }) - t->columns.begin()); };
  for (size_t i = 0; i < 4; ++i) {
    const auto from = std::get<int64_t>(t->rows[i][column("from node")]), to = std::get<int64_t>(t->rows[i][column("to node")]);
    const auto e = std::find_if(g.edges.begin(), g.edges.end(), [&](const auto& x) { return x.from == from && x.to == to; });
    ASSERT_NE(e, g.edges.end());
    EXPECT_NEAR(std::get<double>(t->rows[i][column("predicted")]), -static_cast<double>(e->weight), 1e-6 + 1e-5 * std::fabs(static_cast<double>(e->weight)));
    if (i >= 2) EXPECT_TRUE(from == wanted[i - 2].from && to == wanted[i - 2].to);
  }
  auto error = [&](const char* edges) {
    params["edges"] = edges;
    try {
      testing::run_whole("attribution_graph", *model, data, params);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  for (const char* bad : {"3", "1.2>3", "1.2@3", "a.2@3>4", "1.2@3>4.5", "1.2@3>"}) EXPECT_NE(error(bad).find("is no edge"), std::string::npos) << bad << error(bad);
  EXPECT_NE(error("0.9999@3>4").find("has no edge '0.9999@3>4'"), std::string::npos) << error("0.9999@3>4");
}

TEST(AttributionGraphRun, HoldsWhatItSays) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  const Stored stored(random_transcoders(*model, {}));
  const Dataset data = prompts(*model, 1, 10);
  const AnalysisResult r = testing::run_whole("attribution_graph", *model, data, {{"transcoders", stored.path}, {"node_threshold", "0.999"}, {"max_nodes", "40"}, {"max_edges", "200"}, {"max_logits", "4"}});
  const AttributionGraph& g = graph_of(r);
  int64_t inner = 0, tokens = 0, logits = 0;
  for (const auto& n : g.nodes) {
    inner += n.kind == AttributionGraph::Kind::kFeature || n.kind == AttributionGraph::Kind::kError;
    tokens += n.kind == AttributionGraph::Kind::kToken;
    logits += n.kind == AttributionGraph::Kind::kLogit;
    EXPECT_GE(n.influence, 0);
    EXPECT_LE(n.influence, 1 + 1e-9);
  }
  EXPECT_LE(inner, 40);
  EXPECT_GT(inner, 5);
  EXPECT_EQ(tokens, 10);
  EXPECT_EQ(logits, 4);
  EXPECT_LE(g.edges.size(), 200u);
  for (const auto& e : g.edges) {
    const auto &from = g.nodes[static_cast<size_t>(e.from)], &to = g.nodes[static_cast<size_t>(e.to)];
    EXPECT_LT(from.layer, to.layer);
    EXPECT_LE(from.position, to.position);
  }
  EXPECT_EQ(testing::array_of(r, "cumulative").size(0), static_cast<int64_t>(g.nodes.size()));
  for (const SummaryItem& s : r.summary) {
    if (s.name == "replacement_score") EXPECT_EQ(s.value, g.replacement_score);
    if (s.name == "frozen_gap") EXPECT_LT(s.value, 1e-3);
  }
  EXPECT_GE(r.findings.size(), 3u);
}

// The contributions to a target along one position and through heads are all there is.
TEST(TranscoderPaths, ContributionsAddUp) {
  for (const char* name : {"golden/models/hf-llama", "golden/models/fla-gated_deltanet", "golden/models/tiny-gptj", "golden/models/tiny-gemma2", "golden/models/fla-gated_deltaproduct"}) {
    auto model = testing::load_test_model(testing::golden_path(name));
    testing::TranscoderSample skip;
    skip.skip = true;
    const TranscoderLayers layers(*model, random_transcoders(*model, skip));
    const FrozenModel frozen(*model, {3, 8, 1, 9, 4, 7, 2, 6}, layers, {});
    const NodeIndex& n = frozen.nodes();
    std::vector<std::vector<bool>> heads;
    for (int64_t l = 0; l < n.layers(); ++l) heads.emplace_back(static_cast<size_t>(frozen.mixers()[static_cast<size_t>(l)].heads), true);
    at::Tensor direction = frozen.reading(n.logit(0));
    const int64_t last = n.positions() - 1;
    double sum = 0;
    for (const Contribution& c : contributions(frozen, n.layers(), false, last, frozen.back_final(direction.unsqueeze(0), last).squeeze(0), heads)) sum += c.value;
    // What is left are biases and positions: the same without anything that a contribution is of.
    const FrozenModel::Values all = frozen.run();
    double constant = frozen.value(n.logit(0), all) - sum;
    // Constants do not change when sources do.
    FrozenModel::Change half;
    for (int64_t f = 0; f < n.feature_count(); f += 2) half.activations[f] = 0;
    const FrozenModel::Values other = frozen.run(half);
    double sum_other = 0;
    at::Tensor u = frozen.back_final(direction.unsqueeze(0), last).squeeze(0);
    for (const Contribution& c : contributions(frozen, n.layers(), false, last, u, heads)) {
      if (c.from.kind == PathNode::Kind::kFeature && half.activations.count(c.feature_node)) continue;
      if (c.from.kind == PathNode::Kind::kHead) sum_other += (c.reading * other.stream[static_cast<size_t>(c.from.layer)][c.from.position]).sum().item<double>();
      else sum_other += c.value;
    }
    EXPECT_NEAR(frozen.value(n.logit(0), other) - sum_other, constant, 1e-3) << name;
    EXPECT_GT(std::fabs(sum - sum_other), 1e-3) << name;
  }
}

TEST(TranscoderPaths, BeginAtTokensAndErrorsAndEndAtTheMetric) {
  auto model = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  const TranscoderLayers layers(*model, random_transcoders(*model, {}));
  const FrozenModel frozen(*model, {3, 8, 1, 9, 4, 7}, layers, {});
  std::vector<std::vector<bool>> heads;
  for (int64_t l = 0; l < frozen.nodes().layers(); ++l) heads.emplace_back(static_cast<size_t>(frozen.mixers()[static_cast<size_t>(l)].heads), l == 1);
  const auto paths = greedy_paths(frozen, frozen.reading(frozen.nodes().logit(0)), {3, 10, 6}, heads);
  ASSERT_GT(paths.size(), 5u);
  double before = 1e9;
  for (const FeaturePath& p : paths) {
    EXPECT_LE(std::fabs(p.flow), before);
    before = std::fabs(p.flow);
    EXPECT_EQ(p.nodes.back().kind, PathNode::Kind::kMetric);
    EXPECT_LE(p.nodes.size(), 4u);
    for (size_t i = 0; i + 1 < p.nodes.size(); ++i) {
      EXPECT_LE(p.nodes[i].layer, p.nodes[i + 1].layer);
      EXPECT_LE(p.nodes[i].position, p.nodes[i + 1].position);
      if (p.nodes[i].kind == PathNode::Kind::kHead) EXPECT_EQ(p.nodes[i].layer, 1);
    }
  }
  // A path of one step has the contribution itself.
  const auto single = greedy_paths(frozen, frozen.reading(frozen.nodes().logit(0)), {1, 1000, 1000}, heads);
  const int64_t last = frozen.nodes().positions() - 1;
  std::map<PathNode, double> direct;
  for (const Contribution& c : contributions(frozen, frozen.nodes().layers(), false, last, frozen.back_final(frozen.reading(frozen.nodes().logit(0)).unsqueeze(0), last).squeeze(0), heads))
    direct[c.from] = c.value;
  EXPECT_EQ(single.size(), direct.size());
  for (const FeaturePath& p : single) EXPECT_EQ(p.flow, direct.at(p.nodes[0]));
}

TEST(TranscoderCircuitRun, TheMetricIsTheSumOfItsParts) {
  for (const char* name : {"golden/models/hf-llama", "golden/models/fla-gated_deltanet"}) {
    auto model = testing::load_test_model(testing::golden_path(name));
    const Stored stored(random_transcoders(*model, {}));
    const Dataset data = prompts(*model, 3, 9);
    const AnalysisResult r = testing::run_whole("transcoder_circuit", *model, data, {{"transcoders", stored.path}, {"features", "6"}});
    at::Tensor parts = testing::array_of(r, "effect");
    ASSERT_EQ(parts.size(0), 3);
    double metric = 0;
    for (const SummaryItem& s : r.summary)
      if (s.name == "metric") metric = s.value;
    // The logit difference of the model itself.
    at::Tensor table = model->weights().get(model->config().tied_unembedding ? "embed.weight" : "unembed.weight");
    double want = 0;
    for (const PromptPair& p : data.pairs) {
      at::Tensor logits = model->forward(at::tensor(p.clean_ids).unsqueeze(0)).logits[0][-1];
      want += (logits[p.answer_ids[0]] - (logits[20] + logits[21]) / 2).item<double>() / 3;
    }
    EXPECT_NEAR(metric, want, 1e-3) << name;
    std::set<std::string> kinds;
    for (const Artifact& a : r.artifacts) kinds.insert(artifact_name(a));
    for (const char* wanted : {"features", "paths", "connections", "circuit", "parts"}) EXPECT_TRUE(kinds.count(wanted)) << wanted;
    for (const Artifact& a : r.artifacts)
      if (const auto* t = std::get_if<Table>(&a); t && t->name == "features") {
        ASSERT_EQ(t->rows.size(), 6u);
        double before = 1e9;
        for (const auto& row : t->rows) {
          EXPECT_LE(std::fabs(std::get<double>(row[2])), before);
          before = std::fabs(std::get<double>(row[2]));
        }
      }
  }
}

}  // namespace
}  // namespace microtome
