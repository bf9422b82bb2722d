// Pruning of an attribution graph against the definition: influence as the sum of a matrix series, the fewest nodes and edges
// that reach a share.
#include "core/base/attribution_prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace microtome {
namespace {

using Kind = AttributionGraph::Kind;

int64_t height(const AttributionGraph& g, const AttributionGraph::Node& n) { return n.kind == Kind::kToken ? -1 : n.kind == Kind::kLogit ? g.n_layers : n.layer; }

// Tokens, features and errors of three layers, two logits; edges upwards at random, influence by the definition.
AttributionGraph random_graph(unsigned seed) {
  std::mt19937 rng(seed);
  AttributionGraph g;
  g.name = "graph";
  g.n_layers = 3;
  g.node_threshold = g.edge_threshold = 1;
  for (int64_t p = 0; p < 4; ++p) g.nodes.push_back({Kind::kToken, -1, p, p, 1, 0, true, ""});
  for (int64_t l = 0; l < 3; ++l) {
    for (int64_t f = 0; f < 6; ++f) g.nodes.push_back({Kind::kFeature, l, static_cast<int64_t>(rng() % 4), f, 1, 0, true, ""});
    g.nodes.push_back({Kind::kError, l, 3, -1, 0, 0, true, ""});
  }
  g.nodes.push_back({Kind::kLogit, 3, 3, 10, 0.7, 0, true, ""});
  g.nodes.push_back({Kind::kLogit, 3, 3, 11, 0.2, 0, true, ""});
  std::normal_distribution<double> normal;
  for (size_t a = 0; a < g.nodes.size(); ++a)
    for (size_t b = 0; b < g.nodes.size(); ++b)
      if (g.nodes[b].kind != Kind::kError && g.nodes[b].kind != Kind::kToken && height(g, g.nodes[a]) < height(g, g.nodes[b]) && rng() % 3 != 0)
        g.edges.push_back({static_cast<int64_t>(a), static_cast<int64_t>(b), normal(rng)});
  return g;
}

// w (N + N² + …) with dense matrices; of the nodes that are kept.
std::vector<double> series(const AttributionGraph& g, const std::vector<char>& kept) {
  const size_t n = g.nodes.size();
  std::vector<std::vector<double>> m(n, std::vector<double>(n, 0));         // target, source
  for (const auto& e : g.edges)
    if (kept[static_cast<size_t>(e.from)] && kept[static_cast<size_t>(e.to)]) m[static_cast<size_t>(e.to)][static_cast<size_t>(e.from)] += std::fabs(e.weight);
  for (auto& row : m) {
    double sum = 0;
    for (double v : row) sum += v;
    for (double& v : row) v = sum > 0 ? v / sum : 0;
  }
  std::vector<double> w(n, 0), out(n, 0);
  for (size_t i = 0; i < n; ++i)
    if (g.nodes[i].kind == Kind::kLogit) w[i] = g.nodes[i].activation;
  std::vector<double> now = w;
  for (int step = 0; step < 10; ++step) {
    std::vector<double> next(n, 0);
    for (size_t t = 0; t < n; ++t)
      for (size_t s = 0; s < n; ++s) next[s] += now[t] * m[t][s];
    for (size_t s = 0; s < n; ++s) out[s] += next[s];
    now = next;
  }
  for (size_t i = 0; i < n; ++i) out[i] += w[i];
  return out;
}

TEST(AttributionPrune, InfluenceIsTheMatrixSeries) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const AttributionGraph g = random_graph(seed);
    std::vector<char> kept(g.nodes.size(), 1);
    for (size_t i = seed; i < kept.size() - 2; i += 5) kept[i] = 0;
    const std::vector<double> got = AttributionPruner(g).influence(kept, nullptr), want = series(g, kept);
    for (size_t i = 0; i < got.size(); ++i)
      if (kept[i]) ASSERT_NEAR(got[i], want[i], 1e-12) << seed << " " << i;
  }
}

TEST(AttributionPrune, TheFewestThatReachTheShare) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    AttributionGraph g = random_graph(seed);
    const std::vector<double> influence = series(g, std::vector<char>(g.nodes.size(), 1));
    double all = 0;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      g.nodes[i].influence = influence[i];
      if (g.nodes[i].kind != Kind::kLogit) all += influence[i];
    }
    const AttributionPruner pruner(g);
    for (double share : {0.3, 0.6, 0.9}) {
      const AttributionCut cut = pruner.at(share, 1);
      // By the definition: sorted, the smallest number that sums to the share; tokens and logits in any case.
      std::vector<size_t> order;
      for (size_t i = 0; i < g.nodes.size(); ++i)
        if (g.nodes[i].kind != Kind::kLogit) order.push_back(i);
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return influence[a] > influence[b]; });
      std::vector<char> want(g.nodes.size(), 0);
      double sum = 0;
      for (size_t i : order) {
        if (sum >= share * all) break;
        want[i] = 1;
        sum += influence[i];
      }
      for (size_t i = 0; i < g.nodes.size(); ++i) {
        const bool always = g.nodes[i].kind == Kind::kToken || g.nodes[i].kind == Kind::kLogit;
        // Loose ends may go beyond that, nothing may be added.
        if (always) EXPECT_TRUE(cut.nodes[i]);
        else if (cut.nodes[i]) EXPECT_TRUE(want[i]) << share << " " << i;
      }
      // What went although it was wanted leads nowhere or comes from nowhere.
      for (size_t i = 0; i < g.nodes.size(); ++i) {
        if (!want[i] || cut.nodes[i]) continue;
        bool leads = false, reached = g.nodes[i].kind == Kind::kError;
        for (size_t e = 0; e < g.edges.size(); ++e) {
          leads = leads || (cut.edges[e] && g.edges[e].from == static_cast<int64_t>(i));
          reached = reached || (cut.edges[e] && g.edges[e].to == static_cast<int64_t>(i));
        }
        EXPECT_FALSE(leads && reached) << i;
      }
    }
  }
}

TEST(AttributionPrune, EveryKeptFeatureLiesOnAPathFromBelowToALogit) {
  AttributionGraph g = random_graph(7);
  const std::vector<double> influence = series(g, std::vector<char>(g.nodes.size(), 1));
  for (size_t i = 0; i < g.nodes.size(); ++i) g.nodes[i].influence = influence[i];
  const AttributionPruner pruner(g);
  int64_t before = static_cast<int64_t>(g.edges.size()) + 1;
  for (double share : {0.99, 0.8, 0.5, 0.2}) {
    const AttributionCut cut = pruner.at(0.9, share);
    EXPECT_LT(cut.edge_count, before);
    before = cut.edge_count;
    EXPECT_EQ(cut.node_count, std::count(cut.nodes.begin(), cut.nodes.end(), char{1}));
    for (size_t e = 0; e < g.edges.size(); ++e)
      if (cut.edges[e]) EXPECT_TRUE(cut.nodes[static_cast<size_t>(g.edges[e].from)] && cut.nodes[static_cast<size_t>(g.edges[e].to)]);
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      if (!cut.nodes[i] || (g.nodes[i].kind != Kind::kFeature && g.nodes[i].kind != Kind::kError)) continue;
      bool leads = false, reached = g.nodes[i].kind == Kind::kError;
      for (size_t e = 0; e < g.edges.size(); ++e) {
        leads = leads || (cut.edges[e] && g.edges[e].from == static_cast<int64_t>(i));
        reached = reached || (cut.edges[e] && g.edges[e].to == static_cast<int64_t>(i));
      }
      EXPECT_TRUE(leads && reached) << i;
    }
  }
}

TEST(AttributionPrune, AStoredGraphIsKeptAtItsOwnThresholds) {
  // Cut at 0.8 and 0.98, as a run stores it: asking for these shares gives all of it, less gives a part.
  AttributionGraph whole = random_graph(3);
  const std::vector<double> influence = series(whole, std::vector<char>(whole.nodes.size(), 1));
  for (size_t i = 0; i < whole.nodes.size(); ++i) whole.nodes[i].influence = influence[i];
  const AttributionCut cut = AttributionPruner(whole).at(0.8, 0.98);
  AttributionGraph stored = whole;
  stored.nodes.clear();
  stored.edges.clear();
  std::vector<int64_t> to(whole.nodes.size(), -1);
  for (size_t i = 0; i < whole.nodes.size(); ++i)
    if (cut.nodes[i]) {
      to[i] = static_cast<int64_t>(stored.nodes.size());
      stored.nodes.push_back(whole.nodes[i]);
    }
  for (size_t e = 0; e < whole.edges.size(); ++e)
    if (cut.edges[e]) stored.edges.push_back({to[static_cast<size_t>(whole.edges[e].from)], to[static_cast<size_t>(whole.edges[e].to)], whole.edges[e].weight});
  stored.node_threshold = 0.8;
  stored.edge_threshold = 0.98;
  const AttributionPruner again(stored);
  const AttributionCut same = again.at(0.8, 0.98), more = again.at(1, 1), less = again.at(0.4, 0.98);
  EXPECT_EQ(same.node_count, static_cast<int64_t>(stored.nodes.size()));
  EXPECT_EQ(same.edge_count, static_cast<int64_t>(stored.edges.size()));
  EXPECT_EQ(more.edge_count, same.edge_count);
  EXPECT_LT(less.node_count, same.node_count);
  // Half of the share means the nodes that half of it takes in the whole graph, as far as edges were stored.
  const AttributionCut want = AttributionPruner(whole).at(0.4, 1);
  for (size_t i = 0; i < whole.nodes.size(); ++i)
    if (to[i] >= 0 && less.nodes[static_cast<size_t>(to[i])]) EXPECT_TRUE(want.nodes[i]) << i;
}

TEST(AttributionPrune, HostileGraphs) {
  AttributionGraph g;
  g.n_layers = 1;
  EXPECT_EQ(AttributionPruner(g).at(0.8, 0.98).node_count, 0);
  g.nodes = {{Kind::kToken, -1, 0, 1, 1, 0, true, ""}, {Kind::kFeature, 0, 0, 1, 1, std::nan(""), true, ""}, {Kind::kLogit, 1, 0, 1, 1, 0, true, ""}};
  // Ends that are no nodes, weights that are no numbers, edges in circles and downwards.
  g.edges = {{-1, 1, 1}, {0, 99, 1}, {0, 1, std::nan("")}, {1, 1, 1}, {2, 0, 1}, {0, 1, 2}, {1, 2, 3}};
  const AttributionCut cut = AttributionPruner(g).at(1, 1);
  EXPECT_EQ(cut.edge_count, 2);
  EXPECT_TRUE(cut.edges[5] && cut.edges[6]);
}

}  // namespace
}  // namespace microtome
