// Circuit discovery on models whose circuit is known by construction (known_circuits.h). Precision and recall of every method
// stand in the table of analysis/circuit/README.md, which this test holds to what it measures.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/graph.h"
#include "analysis/circuit/scores.h"
#include "analysis/registry.h"
#include "analysis/engine/arrays.h"
#include "tests/run_whole.h"
#include "tests/unit/analysis/known_circuits.h"

namespace microtome {
namespace {

using testing::KnownCircuit;

AnalysisResult run(const KnownCircuit& k, const std::string& analysis, const std::map<std::string, std::string>& params) {
  return testing::run_whole(analysis, *k.model, k.data, params, 64, 3);
}

const Circuit& circuit_of(const AnalysisResult& r) {
  for (const Artifact& a : r.artifacts)
    if (const auto* c = std::get_if<Circuit>(&a)) return *c;
  throw Error(StatusCode::kInternal, "no circuit");
}

std::set<std::string> edges_inside(const Circuit& c) {
  std::set<std::string> out;
  for (const Circuit::Edge& e : c.edges)
    if (e.in_graph) out.insert(e.from + "->" + e.to);
  return out;
}

struct Score {
  double precision = 0, recall = 0;
};
Score score(const std::set<std::string>& found, const std::set<std::string>& truth) {
  double both = 0;
  for (const std::string& e : found) both += static_cast<double>(truth.count(e));
  return {found.empty() ? 0 : both / static_cast<double>(found.size()), both / static_cast<double>(truth.size())};
}

std::vector<KnownCircuit> known() {
  std::vector<KnownCircuit> out;
  out.push_back(testing::known_induction("induction", 5));
  out.push_back(testing::known_induction("saturated", 15));
  out.push_back(testing::known_descent());
  out.push_back(testing::known_memory());
  return out;
}

// The models do what they were made for, and their circuits are those that the construction says: cutting every other edge
// leaves the answer (but for the noise), cutting any one of these changes it on some prompt.
TEST(KnownCircuits, AreWhatTheConstructionSays) {
  for (const KnownCircuit& k : known()) {
    SCOPED_TRACE(k.name);
    AnalysisInput input{*k.model, nullptr, k.data, {}, 0, MixerForm::kAuto};
    circuit::Graph graph(*k.model);
    circuit::CircuitPrompts prompts(input, graph, "logit_diff", circuit::Outside::kCorrupted, 0);
    at::Tensor truth = at::zeros({graph.source_count(), graph.input_count()}, at::kBool);
    for (const std::string& e : k.edges) {
      const size_t arrow = e.find("->");
      const int64_t from = graph.find_source(e.substr(0, arrow)), to = graph.find_input(e.substr(arrow + 2));
      ASSERT_GE(from, 0) << e;
      ASSERT_GE(to, 0) << e;
      truth[from][to].fill_(true);
    }
    at::Tensor clean = prompts.clean();
    EXPECT_GT(clean.min().item<double>(), 1) << "every prompt is answered right";
    std::vector<at::Tensor> masks{truth, at::zeros_like(truth)};
    for (const std::string& e : k.edges) {
      const size_t arrow = e.find("->");
      at::Tensor one = graph.possible();
      one[graph.find_source(e.substr(0, arrow))][graph.find_input(e.substr(arrow + 2))].fill_(false);
      masks.push_back(one);
    }
    at::Tensor values = prompts.run(at::stack(masks), 0);
    EXPECT_LT((values[0] - clean).abs().max().item<double>(), 0.5);
    EXPECT_GT((values[1] - clean).abs().min().item<double>(), 1);
    size_t row = 2;
    for (const std::string& e : k.edges) EXPECT_GT((values[static_cast<int64_t>(row++)] - clean).abs().max().item<double>(), 1) << e;
  }
}

std::map<std::string, Score> measure(const KnownCircuit& k) {
  circuit::Graph graph(*k.model);
  char share[32];
  std::snprintf(share, sizeof share, "%.9g", 100.0 * static_cast<double>(k.edges.size()) / static_cast<double>(graph.edge_count()));
  std::map<std::string, Score> out;
  auto add = [&](const std::string& name, const std::string& analysis, std::map<std::string, std::string> params) {
    out[name] = score(edges_inside(circuit_of(run(k, analysis, std::move(params)))), k.edges);
  };
  add("EAP", "eap", {{"share", share}});
  add("EAP-IG, inputs", "eap_ig", {{"share", share}});
  add("EAP-IG, activations", "eap_ig", {{"share", share}, {"mode", "activations"}});
  add("EAP, clean and corrupted", "eap_ig", {{"share", share}, {"mode", "clean_corrupted"}});
  add("ACDC", "acdc", {{"threshold", "0.5"}, {"metric", "logit_diff"}});
  add("ACDC, grouped tests", "acdc", {{"threshold", "0.5"}, {"metric", "logit_diff"}, {"tests", "grouped"}});
  add("edge pruning", "edge_pruning", {{"share", share}});
  // These find heads.
  auto heads = [&](const std::string& name, const std::string& analysis, std::map<std::string, std::string> params) {
    std::set<std::string> found;
    const AnalysisResult result = run(k, analysis, std::move(params));
    for (const Circuit::Node& n : circuit_of(result).nodes)
      if (n.in_graph && n.name.find(".h") != std::string::npos) found.insert(n.name);
    out[name] = score(found, k.heads);
  };
  heads("CD-T (heads)", "cd_t", {{"baseline", "corrupted"}});
  heads("discrete autoencoder (heads)", "discrete_sae_circuit", {});
  return out;
}

TEST(KnownCircuits, PrecisionAndRecallStandInTheTable) {
  std::ifstream file(std::string(MICROTOME_SOURCE_DIR) + "/analysis/circuit/README.md");
  std::stringstream text;
  text << file.rdbuf();
  std::map<std::string, std::map<std::string, Score>> all;
  std::vector<std::string> order;
  for (const KnownCircuit& k : known()) {
    all[k.name] = measure(k);
    order.push_back(k.name);
  }
  for (const auto& [method, _] : all.begin()->second) {
    std::string line = "| " + method + " |";
    for (const std::string& model : order) {
      char cell[64];
      std::snprintf(cell, sizeof cell, " %.2f / %.2f |", all[model][method].precision, all[model][method].recall);
      line += cell;
    }
    EXPECT_NE(text.str().find(line + "\n"), std::string::npos) << "the table does not hold this line:\n" << line;
    if (method.find("(heads)") != std::string::npos) continue;
    for (const std::string& model : order) EXPECT_GE(all[model][method].recall, 0.4) << method << " on " << model;
  }
}

}  // namespace
}  // namespace microtome
