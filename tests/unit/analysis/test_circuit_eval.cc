// Circuits as they are measured: every number of circuit_eval and of circuit_compare against whole runs written out edge by
// edge, areas and curves by hand; what ACDC, edge pruning and attribution promise of themselves.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "analysis/circuit/graph.h"
#include "analysis/circuit/scores.h"
#include "analysis/circuit_eval/plan.h"
#include "analysis/engine/roc.h"
#include "core/io/circuit_file.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"
#include "tests/unit/analysis/known_circuits.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::run_whole;

double number_of(const AnalysisResult& r, const std::string& name) {
  for (const SummaryItem& s : r.summary)
    if (s.name == name) return s.value;
  ADD_FAILURE() << "no number '" << name << "'";
  return NAN;
}

const Circuit& circuit_named(const AnalysisResult& r, const std::string& name) {
  for (const Artifact& a : r.artifacts)
    if (const auto* c = std::get_if<Circuit>(&a); c && c->name == name) return *c;
  throw Error(StatusCode::kInternal, "no circuit '" + name + "'");
}

Dataset pairs_for(const Model& m) {
  const int64_t vocab = m.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, 6, vocab, 2)), other = testing::dataset_of(testing::random_ids(3, 6, vocab, 4));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].corrupted_ids = other.pairs[i].clean_ids;
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9), 3};
  }
  return d;
}

at::Tensor ids(const Model& m, const std::vector<int64_t>& v) { return at::tensor(v, at::kLong).unsqueeze(0).to(m.device()); }

double difference(const PromptPair& p, const at::Tensor& logits) {
  double wrong = 0;
  for (int64_t id : p.wrong_ids) wrong += logits[id].item<double>();
  return logits[p.answer_ids[0]].item<double>() - wrong / static_cast<double>(p.wrong_ids.size());
}

// One prompt's logit difference with every edge outside cut: each input is the stream of this very run, with what each cut
// source writes replaced by what it writes on the corrupted prompt.
double with_edges_cut(const Model& m, const circuit::Graph& g, const PromptPair& p, const at::Tensor& inside) {
  auto by_source = [&](const circuit::Writers& w, const at::Tensor& v, std::vector<at::Tensor>& to) {
    for (int64_t k = 0; k < w.count; ++k) to[static_cast<size_t>(w.first + k)] = w.by_head ? v.select(2, k) : v;
  };
  HookPlan look;
  for (const circuit::Writers& w : g.writers()) look.capture(w.hook);
  ForwardResult corrupted = m.forward(ids(m, p.corrupted_ids), look);
  std::vector<at::Tensor> off(static_cast<size_t>(g.source_count())), now = off;
  for (const circuit::Writers& w : g.writers()) by_source(w, corrupted.cache.get(w.hook), off);
  HookPlan plan;
  for (const circuit::Writers& w : g.writers())
    plan.edit(w.hook, [&, w](const at::Tensor& v, int64_t) {
      by_source(w, v, now);
      return v;
    });
  for (const circuit::Readers& r : g.readers())
    plan.edit(r.hook, [&, r](const at::Tensor& v, int64_t) {
      at::Tensor out = v.clone();
      for (int64_t n = 0; n < r.count; ++n)
        for (int64_t s = 0; s < r.sources; ++s)
          if (!inside[s][r.first + n].item<bool>()) {
            at::Tensor change = off[static_cast<size_t>(s)] - now[static_cast<size_t>(s)];
            if (r.by_head) out.select(2, n).add_(change);
            else out.add_(change);
          }
      return out;
    });
  at::Tensor logits = m.forward(ids(m, p.clean_ids), plan).logits[0];
  return difference(p, logits[logits.size(0) - 1]);
}

double mean_with_edges_cut(const Model& m, const circuit::Graph& g, const Dataset& d, const at::Tensor& inside) {
  double sum = 0;
  for (const PromptPair& p : d.pairs) sum += with_edges_cut(m, g, p, inside);
  return sum / static_cast<double>(d.pairs.size());
}

class CircuitEval : public ::testing::TestWithParam<const char*> {};

TEST_P(CircuitEval, NumbersAreThoseOfWholeRuns) {
  at::NoGradGuard no_grad;
  auto m = testing::load_test_model(testing::golden_path(std::string("golden/models/") + GetParam()), at::kDouble);
  const Dataset d = pairs_for(*m);
  const circuit::Graph g(*m);
  AnalysisResult r = run_whole("circuit_eval", *m, d, {{"metric", "logit_diff"}, {"share", "30"}, {"resamples", "4"}, {"subsets", "3"}});
  const at::Tensor scores = array_of(run_whole("eap_ig", *m, d, {{"metric", "logit_diff"}, {"resamples", "0"}}), "edge_scores");
  const at::Tensor all = g.possible();
  const double whole = mean_with_edges_cut(*m, g, d, all), empty = mean_with_edges_cut(*m, g, d, at::zeros_like(all));
  double clean = 0;
  for (const PromptPair& p : d.pairs) clean += difference(p, m->forward(ids(*m, p.clean_ids)).logits[0][5]) / 3;
  EXPECT_NEAR(whole, clean, 1e-9);
  EXPECT_NEAR(number_of(r, "whole_logit_diff"), whole, 1e-9);
  EXPECT_NEAR(number_of(r, "empty_logit_diff"), empty, 1e-9);
  auto f = [&](const at::Tensor& inside) { return (mean_with_edges_cut(*m, g, d, inside) - empty) / (whole - empty); };

  std::vector<double> curve;
  at::Tensor given = array_of(r, "faithfulness");
  for (double share : analyses::edge_shares()) {
    at::Tensor inside = share == 100 ? all : circuit::without_dead_ends(g, circuit::best_edges(g, scores, circuit::edges_of_share(g, share), true));
    curve.push_back(f(inside));
    EXPECT_NEAR(given[static_cast<int64_t>(curve.size() - 1)].item<double>(), curve.back(), 1e-6) << share << " %";
  }
  double cpr = 0, cmd = 0;
  for (size_t i = 1; i < curve.size(); ++i) {
    const double width = (analyses::edge_shares()[i] - analyses::edge_shares()[i - 1]) / 100;
    cpr += width * (curve[i] + curve[i - 1]) / 2;
    cmd += width * (std::fabs(1 - curve[i]) + std::fabs(1 - curve[i - 1])) / 2;
  }
  EXPECT_NEAR(number_of(r, "CPR"), cpr, 1e-6);
  EXPECT_NEAR(number_of(r, "CMD"), cmd, 1e-6);

  const at::Tensor chosen = circuit::without_dead_ends(g, circuit::best_edges(g, scores, circuit::edges_of_share(g, 30), true));
  EXPECT_NEAR(number_of(r, "faithfulness"), f(chosen), 1e-6);
  EXPECT_TRUE(g.inside_of(circuit_named(r, "circuit"), "the circuit").equal(chosen));
  at::Tensor lost = array_of(r, "minimality");
  int64_t node = 0;
  for (int64_t s = 1; s < g.source_count(); ++s) {
    if (!chosen[s].any().item<bool>()) continue;
    at::Tensor without = chosen.clone();
    without[s].fill_(false);
    for (size_t i = 0; i < g.inputs().size(); ++i)
      if (g.inputs()[i].node == s) without.select(1, static_cast<int64_t>(i)).fill_(false);
    ASSERT_LT(node, lost.size(0));
    EXPECT_NEAR(lost[node++].item<double>(), f(chosen) - f(without), 1e-6) << g.sources()[static_cast<size_t>(s)].name;
  }
  EXPECT_EQ(node, lost.size(0));
  EXPECT_GT(node, 0);
  // Of drawn sets only the bound is known without the draw: none of them can be further apart than the summary says.
  EXPECT_DOUBLE_EQ(array_of(r, "completeness").max().item<double>(), number_of(r, "completeness"));
  at::Tensor frequency = array_of(r, "frequency").nan_to_num(0);
  EXPECT_GE(frequency.min().item<double>(), 0);
  EXPECT_LE(frequency.max().item<double>(), 1);
  EXPECT_NEAR((frequency * 4 - (frequency * 4).round()).abs().max().item<double>(), 0, 1e-6) << "of four resamples";
}
INSTANTIATE_TEST_SUITE_P(Models, CircuitEval, ::testing::Values("hf-gpt2", "fla-gated_deltanet"), [](const auto& i) {
  std::string n = i.param;
  for (char& c : n)
    if (c == '-') c = '_';
  return n;
});

TEST(CircuitAreas, ByHand) {
  EXPECT_DOUBLE_EQ(analyses::area_under({0, 50, 100}, {0, 1, 1}), 0.75);
  EXPECT_DOUBLE_EQ(analyses::area_from_one({0, 50, 100}, {0, 1, 1}), 0.25);
  EXPECT_DOUBLE_EQ(analyses::area_from_one({0, 100}, {1.5, 1.5}), 0.5);          // too much is as far off as too little
  engine::Roc roc = engine::roc_curve({3, 2, 2, 1}, {true, false, true, false});
  EXPECT_EQ(roc.false_rate, (std::vector<double>{0, 0, 0.5, 1}));
  EXPECT_EQ(roc.true_rate, (std::vector<double>{0, 0.5, 1, 1}));
  EXPECT_DOUBLE_EQ(roc.area, 0.875);                   // of 4 pairs 3 are won and one ties
}

TEST(CircuitCompare, OverlapAndRepairAreThoseOfWholeRuns) {
  at::NoGradGuard no_grad;
  namespace fs = std::filesystem;
  testing::KnownCircuit k = testing::known_induction("induction", 6);
  const circuit::Graph g(*k.model);
  at::Tensor none = at::zeros({g.source_count(), g.input_count()}, at::kBool), one = none.clone(), two = none.clone();
  auto add = [&](at::Tensor& t, const char* from, const char* to) { t[g.find_source(from)][g.find_input(to)].fill_(true); };
  add(one, "input", "a0.h0<v>");
  add(one, "a0.h0", "a1.h0<k>");
  add(one, "a1.h0", "logits");
  add(two, "a1.h0", "logits");
  add(two, "input", "a1.h0<v>");
  const std::string folder = fs::temp_directory_path() / ("compare-" + std::to_string(::getpid()));
  fs::create_directory(folder);
  for (auto [name, inside] : {std::pair<const char*, const at::Tensor*>{"/one.json", &one}, {"/two.json", &two}})
    ASSERT_TRUE(static_cast<bool>(write_circuit_file(folder + name, g.to_circuit("c", "c", inside->to(at::kDouble), *inside))));
  AnalysisResult r = run_whole("circuit_compare", *k.model, k.data, {{"circuit", folder + "/one.json"}, {"other", folder + "/two.json"}, {"heads", "a0.h0,a1.h0"}, {"metric", "logit_diff"}});
  fs::remove_all(folder);
  EXPECT_DOUBLE_EQ(number_of(r, "jaccard_edges"), 1.0 / 4);
  EXPECT_DOUBLE_EQ(number_of(r, "jaccard_heads"), 1.0 / 2);
  EXPECT_DOUBLE_EQ(number_of(r, "reused_edges"), 1.0 / 2);
  EXPECT_DOUBLE_EQ(number_of(r, "reused_heads"), 1);

  // The corrupted prompts, with each head's clean pattern and with both.
  const std::vector<std::vector<std::pair<int64_t, int64_t>>> settings = {{}, {{0, 0}}, {{1, 0}}, {{0, 0}, {1, 0}}};
  at::Tensor metric = array_of(r, "metric"), accuracy = array_of(r, "accuracy");
  ASSERT_EQ(metric.size(0), 4);
  for (size_t s = 0; s < settings.size(); ++s) {
    double sum = 0, right = 0;
    for (const PromptPair& p : k.data.pairs) {
      HookPlan plan;
      for (const auto& [l, h] : settings[s]) {
        const std::string name = "blocks." + std::to_string(l) + ".attn.hook_pattern";
        const at::Tensor clean = k.model->forward(ids(*k.model, p.clean_ids), HookPlan().capture(name)).cache.get(name);
        plan.edit(name, [clean, head = h](const at::Tensor& v, int64_t) {
          at::Tensor y = v.clone();
          y.select(1, head).copy_(clean.select(1, head));
          return y;
        });
      }
      at::Tensor logits = k.model->forward(ids(*k.model, p.corrupted_ids), plan).logits[0];
      logits = logits[logits.size(0) - 1];
      sum += difference(p, logits);
      double off = -INFINITY;
      for (int64_t id : p.wrong_ids) off = std::max(off, logits[id].item<double>());
      right += logits[p.answer_ids[0]].item<double>() > off;
    }
    const double n = static_cast<double>(k.data.pairs.size());
    EXPECT_NEAR(metric[static_cast<int64_t>(s)].item<double>(), sum / n, 1e-4) << s;
    EXPECT_NEAR(accuracy[static_cast<int64_t>(s)].item<double>(), right / n, 1e-9) << s;
  }
  EXPECT_GT(metric[3].item<double>(), metric[0].item<double>() + 1) << "looking where they should, the heads answer";
}

TEST(Acdc, AShareIsThatOfTheDistanceAndGroupsNeedFewerRuns) {
  testing::KnownCircuit k = testing::known_induction("induction", 6);
  const std::map<std::string, std::string> base = {{"metric", "logit_diff"}, {"threshold", "0.5"}};
  AnalysisResult absolute = run_whole("acdc", *k.model, k.data, base);
  const double span = std::fabs(number_of(absolute, "whole_logit_diff") - number_of(absolute, "empty_logit_diff"));
  ASSERT_GT(span, 1);
  auto with = [&](const std::string& key, const std::string& value, const std::string& threshold) {
    auto p = base;
    p[key] = value;
    p["threshold"] = threshold;
    return run_whole("acdc", *k.model, k.data, p);
  };
  AnalysisResult share = with("threshold_of", "share", std::to_string(0.5 / span));
  EXPECT_TRUE(array_of(share, "inside").equal(array_of(absolute, "inside")));
  EXPECT_TRUE(with("threshold_of", "share", "1.01").artifacts.size() > 0);
  EXPECT_LT(array_of(with("threshold_of", "share", "1.01"), "inside").sum().item<double>(), array_of(absolute, "inside").sum().item<double>()) << "more than all of it: nothing is worth that";
  EXPECT_TRUE(array_of(with("tests", "grouped", "0.5"), "inside").equal(array_of(absolute, "inside")));

  // Of a larger graph, of which little stays.
  auto m = testing::load_test_model(testing::golden_path("golden/models/hf-gpt2"));
  const Dataset d = pairs_for(*m);
  auto runs = [&](const char* tests) {
    return number_of(run_whole("acdc", *m, d, {{"metric", "logit_diff"}, {"threshold_of", "share"}, {"threshold", "0.3"}, {"tests", tests}}), "runs");
  };
  EXPECT_LT(runs("grouped"), runs("single") / 2);
}

// Circuits rank by the size of their scores, so scores of what was left out must not be large below zero.
TEST(SearchedCircuits, EdgesInsideOutrankThoseOutside) {
  testing::KnownCircuit k = testing::known_memory();
  for (const char* analysis : {"edge_pruning", "acdc"}) {
    AnalysisResult r = run_whole(analysis, *k.model, k.data, {{"metric", "logit_diff"}});
    double least = INFINITY, most = -INFINITY;
    for (const Circuit::Edge& e : circuit_named(r, "circuit").edges) {
      EXPECT_GE(e.score, 0) << analysis << " " << e.from << " " << e.to;
      if (e.in_graph) least = std::min(least, std::fabs(e.score));
      else if (std::string(analysis) == "acdc") most = std::max(most, std::fabs(e.score));
    }
    if (std::string(analysis) == "acdc") EXPECT_GT(least, 0);
    const at::Tensor inside = circuit::Graph(*k.model).inside_of(circuit_named(r, "circuit"), "it"), scores = circuit::Graph(*k.model).scores_of(circuit_named(r, "circuit"), "it").nan_to_num(0);
    const double in = scores.masked_select(inside).mean().item<double>(), out = scores.masked_select(inside.logical_not()).abs().mean().item<double>();
    EXPECT_GT(in, out) << analysis;
  }
}

TEST(Attribution, PartsOfAnItemGiveTheSame) {
  auto m = testing::load_test_model(testing::golden_path("golden/models/fla-gated_deltanet"), at::kDouble);
  const Dataset d = pairs_for(*m);
  for (const char* analysis : {"eap", "eap_ig"}) {
    auto run = [&](int64_t batch) { return run_whole(analysis, *m, d, {{"metric", "logit_diff"}, {"neurons", "true"}, {"positions", "kept"}, {"resamples", "3"}}, batch); };
    AnalysisResult whole = run(64), parts = run(2);
    for (const char* name : {"edge_scores", "standard_error", "frequency", "edge_scores_by_position", "neuron_scores", "state_edges"}) {
      at::Tensor a = array_of(whole, name).to(at::kDouble), b = array_of(parts, name).to(at::kDouble);
      EXPECT_TRUE(a.isnan().equal(b.isnan())) << analysis << " " << name;
      EXPECT_LT((a - b).nan_to_num(0).abs().max().item<double>(), 1e-6) << analysis << " " << name;
    }
    EXPECT_GT(array_of(whole, "state_edges").nan_to_num(0).abs().max().item<double>(), 0);
  }
}

}  // namespace
}  // namespace microtome
