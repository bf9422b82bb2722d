// Influence, scores and pruning of attribution graphs against dense matrices and the definitions of circuit-tracer's graph.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "analysis/feature_circuit/influence.h"
#include "core/base/status.h"
#include "tests/unit/analysis/feature_circuit_samples.h"

namespace microtome {
namespace {

using namespace feature_circuit;
using testing::GraphSample;

at::Tensor weights(const GraphSample& g) {
  at::Tensor w = at::zeros({g.nodes.size()}, at::kDouble);
  for (size_t i = 0; i < g.logit_p.size(); ++i) w[g.nodes.logit(static_cast<int64_t>(i))] = g.logit_p[i];
  return w;
}
at::Tensor normalised(const at::Tensor& a) { return a.abs() / a.abs().sum(1, true).clamp_min(1e-10); }
// w ((I - N)^-1 - I)
at::Tensor dense_influence(const at::Tensor& n, const at::Tensor& w) {
  at::Tensor eye = at::eye(n.size(0), at::kDouble);
  return at::matmul(w, at::linalg_inv(eye - n) - eye);
}
at::Tensor tensor(const std::vector<double>& v) { return at::tensor(v, at::kDouble); }
double furthest(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// find_threshold of graph.py.
double dense_threshold(const at::Tensor& scores, double share) {
  at::Tensor sorted = std::get<0>(at::sort(scores.flatten(), -1, true)), sum = at::cumsum(sorted, 0) / sorted.sum();
  int64_t i = at::searchsorted(sum, at::scalar_tensor(share, at::kDouble)).item<int64_t>();
  const int64_t positive = (sorted > 0).sum().item<int64_t>();
  return sorted[std::min(i, std::max<int64_t>(positive - 1, 0))].item<double>();
}

struct DensePruned { at::Tensor nodes, edges, cumulative; };
DensePruned dense_prune(const GraphSample& g, double node_share, double edge_share) {
  const int64_t keep = g.nodes.token(0), features = g.nodes.feature_count();
  at::Tensor w = weights(g), influence = dense_influence(normalised(g.dense), w);
  at::Tensor nodes = influence >= dense_threshold(influence, node_share);
  nodes.narrow(0, keep, nodes.size(0) - keep).fill_(true);
  at::Tensor pruned = g.dense * nodes.unsqueeze(0) * nodes.unsqueeze(1), n = normalised(pruned);
  at::Tensor scores = n * (dense_influence(n, w) + w).unsqueeze(1);
  at::Tensor edges = scores >= dense_threshold(scores, edge_share);
  for (at::Tensor before; !before.defined() || !at::equal(before, nodes);) {
    before = nodes.clone();
    edges = edges & nodes.unsqueeze(0) & nodes.unsqueeze(1);
    nodes.narrow(0, 0, keep).logical_and_(edges.any(0).narrow(0, 0, keep));
    nodes.narrow(0, 0, features).logical_and_(edges.any(1).narrow(0, 0, features));
  }
  auto [sorted, order] = at::sort(influence, -1, true);
  at::Tensor cumulative = at::zeros_like(influence);
  cumulative.index_put_({order}, at::cumsum(sorted, 0) / sorted.sum());
  return {nodes, edges, cumulative};
}

TEST(GraphNodes, RowsReachWhatComesBefore) {
  const NodeIndex n(2, 3, {{0, 1, 7, 1.f}, {0, 2, 3, 1.f}, {1, 0, 4, 1.f}, {1, 2, 9, 1.f}}, 2);
  EXPECT_EQ(n.size(), 4 + 2 * 3 + 3 + 2);
  using Runs = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(n.runs(0), (Runs{{n.token(0), 2}}));                       // layer 0 at position 1: tokens 0 and 1
  EXPECT_EQ(n.runs(2), (Runs{{n.error(0, 0), 1}, {n.token(0), 1}}));   // layer 1 at position 0
  EXPECT_EQ(n.runs(3), (Runs{{0, 2}, {n.error(0, 0), 3}, {n.token(0), 3}}));
  EXPECT_EQ(n.runs(n.logit(1)), (Runs{{0, 2}, {2, 2}, {n.error(0, 0), 3}, {n.error(1, 0), 3}, {n.token(0), 3}}));
  EXPECT_EQ(n.layer_of(n.error(1, 2)), 1);
  EXPECT_EQ(n.position_of(n.error(1, 2)), 2);
  EXPECT_EQ(n.layer_of(n.token(1)), -1);
  EXPECT_EQ(n.row_length(3), 8);
  EXPECT_THROW(NodeIndex(1, 2, {{0, 1, 3, 1.f}, {0, 0, 3, 1.f}}, 1), Error);
}

TEST(GraphRows, AreTheSameInAFileAndInMemory) {
  const GraphSample g(4, 6, 60, 3, 5);
  RowStore file(g.nodes), memory(g.nodes, true);
  g.fill(file);
  g.fill(memory);
  for (int64_t r = 0; r < file.rows(); ++r) {
    EXPECT_EQ(file.read(r), memory.read(r));
    EXPECT_EQ(file.read(r), g.rows.at(file.target(r)));
  }
  EXPECT_THROW(file.append(0, g.rows.at(0).data(), 1), Error);
  const Influence a = influence(file, g.logit_p), b = influence(memory, g.logit_p);
  EXPECT_EQ(a.nodes, b.nodes);
  EXPECT_EQ(a.non_error, b.non_error);
  int64_t before = 99;
  for (int64_t r : file.downward()) {
    EXPECT_LE(g.nodes.layer_of(file.target(r)), before);
    before = g.nodes.layer_of(file.target(r));
  }
}

TEST(GraphInfluence, IsTheSumOverAllPaths) {
  for (uint64_t seed : {1u, 2u, 3u}) {
    const GraphSample g(5, 7, 80, 4, seed);
    RowStore rows(g.nodes);
    g.fill(rows);
    const Influence got = influence(rows, g.logit_p);
    const at::Tensor n = normalised(g.dense), want = dense_influence(n, weights(g));
    EXPECT_LT(furthest(tensor(got.nodes), want), 1e-12);
    // Nodes that are left out count neither as targets nor as sources.
    std::vector<char> kept(static_cast<size_t>(g.nodes.size()), 1);
    for (size_t i = 0; i < kept.size(); i += 3) kept[i] = g.nodes.is_logit(static_cast<int64_t>(i));
    at::Tensor mask = at::zeros({g.nodes.size()}, at::kDouble);
    for (size_t i = 0; i < kept.size(); ++i) mask[static_cast<int64_t>(i)] = static_cast<double>(kept[i]);
    EXPECT_LT(furthest(tensor(influence(rows, g.logit_p, kept).nodes), dense_influence(normalised(g.dense * mask.unsqueeze(0) * mask.unsqueeze(1)), weights(g))), 1e-12);

    // compute_graph_scores of graph.py.
    const int64_t errors = g.nodes.feature_count(), tokens = g.nodes.token(0), logits = g.nodes.logit(0);
    const double by_token = want.slice(0, tokens, logits).sum().item<double>(), by_error = want.slice(0, errors, tokens).sum().item<double>();
    at::Tensor fraction = 1 - n.slice(1, errors, tokens).sum(-1), out = want + weights(g);
    const GraphScores s = graph_scores(g.nodes, got, g.logit_p);
    EXPECT_NEAR(s.replacement, by_token / (by_token + by_error), 1e-12);
    EXPECT_NEAR(s.completeness, ((fraction * out).sum() / out.sum()).item<double>(), 1e-12);
    EXPECT_GT(s.replacement, 0);
    EXPECT_LT(s.completeness, 1);
  }
}

TEST(GraphPruning, KeepsWhatTheDenseFormKeeps) {
  for (uint64_t seed : {4u, 5u, 6u})
    for (auto [node_share, edge_share] : {std::pair{0.8, 0.98}, {0.5, 0.9}, {0.95, 0.6}, {0.99, 0.999}}) {
      const GraphSample g(5, 6, 90, 3, seed);
      RowStore rows(g.nodes);
      g.fill(rows);
      const DensePruned want = dense_prune(g, node_share, edge_share);
      const Pruned got = prune(rows, influence(rows, g.logit_p), g.logit_p, {}, {node_share, edge_share, 0, 0});
      at::Tensor edges = at::zeros_like(want.edges);
      for (const KeptEdge& e : got.edges) {
        edges[e.to][e.from] = true;
        EXPECT_EQ(static_cast<double>(e.weight), g.dense[e.to][e.from].item<double>());
      }
      at::Tensor nodes = at::tensor(std::vector<int64_t>(got.nodes.begin(), got.nodes.end())).to(at::kBool);
      EXPECT_TRUE(at::equal(nodes, want.nodes)) << seed << " " << node_share;
      EXPECT_EQ((edges != want.edges).sum().item<int64_t>(), 0) << seed << " " << node_share << " " << edge_share;
      EXPECT_LT(furthest(tensor(got.cumulative), want.cumulative), 1e-9);
      EXPECT_FALSE(got.nodes_limited || got.edges_limited);
    }
}

TEST(GraphPruning, StaysWithinLimits) {
  const GraphSample g(5, 6, 90, 3, 9);
  RowStore rows(g.nodes);
  g.fill(rows);
  const Influence all = influence(rows, g.logit_p);
  const Pruned free = prune(rows, all, g.logit_p, {}, {0.9, 0.98, 0, 0}), tight = prune(rows, all, g.logit_p, {}, {0.9, 0.98, 12, 40});
  EXPECT_TRUE(tight.nodes_limited && tight.edges_limited);
  EXPECT_LE(tight.edges.size(), 40u);
  int64_t inner = 0;
  double least = 1e9;
  for (int64_t n = 0; n < g.nodes.token(0); ++n)
    if (tight.nodes[static_cast<size_t>(n)]) {
      ++inner;
      least = std::min(least, all.nodes[static_cast<size_t>(n)]);
      EXPECT_TRUE(free.nodes[static_cast<size_t>(n)]);
    }
  EXPECT_LE(inner, 12);
  EXPECT_GT(inner, 0);
  // Nobody stronger than those kept was dropped for the limit, but for want of an edge.
  std::vector<double> sorted(all.nodes.begin(), all.nodes.begin() + g.nodes.token(0));
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  EXPECT_GE(least, sorted[11]);
  for (const KeptEdge& e : tight.edges) EXPECT_TRUE(tight.nodes[static_cast<size_t>(e.from)] && tight.nodes[static_cast<size_t>(e.to)]);
}

TEST(GraphPruning, TheThresholdIsThatOfTheSortedScores) {
  Rng rng(3);
  std::vector<double> v;
  for (int i = 0; i < 200; ++i) v.push_back(rng.uniform() < 0.3 ? 0 : rng.uniform());
  for (double share : {0.0, 0.3, 0.8, 0.98, 0.999}) EXPECT_EQ(share_threshold(v, share), dense_threshold(tensor(v), share)) << share;
}

}  // namespace
}  // namespace microtome
