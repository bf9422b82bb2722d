// Names to ranks, ranks to places, curves round nodes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>

#include "app/layout/circuit_ranks.h"
#include "app/layout/edge_curves.h"

namespace microtome::layout {
namespace {

TEST(CircuitRanks, LayersGoUpAndUnknownNamesStandAboveWhatLeadsToThem) {
  std::vector<CircuitPlace> places;
  for (const char* n : {"logits", "input", "a0.h3", "m0", "a2", "feature 7", "later", "loop", "pool"}) places.push_back(circuit_place(n));
  const std::vector<int> r = circuit_ranks(places, {{4, 5}, {5, 6}, {6, 0}, {7, 8}, {8, 7}});
  EXPECT_EQ(r[1], 0);
  EXPECT_EQ(r[2], 1);
  EXPECT_EQ(r[3], 2);
  EXPECT_EQ(r[4], 5);
  EXPECT_EQ(r[5], 6);
  EXPECT_EQ(r[6], 7);
  for (size_t i = 1; i < r.size(); ++i) EXPECT_LT(r[i], r[0]);
  EXPECT_TRUE(circuit_ranks({}, {}).empty());
}

TEST(GraphLayout, RanksGoUpAndNodesNeverOverlap) {
  std::vector<LayoutNode> nodes;
  for (int i = 0; i < 300; ++i)
    nodes.push_back({i % 5 == 0 ? 1'000'000 : i % 3, i % 4 == 0 ? i : -1, Point{15.0 + i % 3 * 20, 13}});
  for (int i = 0; i < 12; ++i) nodes.push_back({50, i, Point{16, 16}});
  const Placement p = place_by_rank(nodes);
  ASSERT_EQ(p.centres.size(), nodes.size());
  ASSERT_EQ(p.ranks.size(), 5u);
  for (size_t a = 0; a < nodes.size(); ++a)
    for (size_t b = a + 1; b < nodes.size(); ++b) {
      EXPECT_TRUE(nodes[a].rank >= nodes[b].rank || p.centres[a].y > p.centres[b].y);
      EXPECT_TRUE(nodes[a].rank <= nodes[b].rank || p.centres[a].y < p.centres[b].y);
      const Point d{p.centres[a].x - p.centres[b].x, p.centres[a].y - p.centres[b].y};
      EXPECT_TRUE(std::abs(d.x) >= nodes[a].half.x + nodes[b].half.x ||
                  std::abs(d.y) >= nodes[a].half.y + nodes[b].half.y)
          << a << " " << b;
    }
  // Columns are kept where they make sense: the heads of a rank stand in their order, evenly.
  const double step = p.centres[301].x - p.centres[300].x;
  EXPECT_GT(step, 32);
  for (size_t i = 301; i < 312; ++i) EXPECT_NEAR(p.centres[i].x - p.centres[i - 1].x, step, 1e-6);
  EXPECT_TRUE(place_by_rank({}).centres.empty());
}

TEST(GraphLayout, DotIsForGraphsThatCanBeRead) {
  if (!has_dot()) GTEST_SKIP() << "built without graphviz";
  const std::vector<LayoutNode> nodes(400, LayoutNode{0, -1, Point{15, 15}});
  std::vector<LayoutNode> ranked = nodes;
  for (size_t i = 0; i < ranked.size(); ++i) ranked[i].rank = static_cast<int>(i) / 20;
  std::vector<std::pair<int, int>> edges;
  for (int i = 0; i + 20 < 400; ++i) edges.emplace_back(i, i + 20);
  EXPECT_TRUE(suits_dot(ranked, edges));
  EXPECT_FALSE(suits_dot(ranked, {}));
  ranked.push_back({});
  EXPECT_FALSE(suits_dot(ranked, edges));
  ranked.pop_back();
  for (int i = 0; i < 400; ++i)
    for (int k = 0; k < 8; ++k) edges.emplace_back(i, (i * 7 + k * 31) % 400);
  EXPECT_FALSE(suits_dot(ranked, edges));
  const std::atomic<bool> cancelled{true};
  EXPECT_TRUE(dot_columns(ranked, edges, cancelled).empty());
}

TEST(GraphLayout, DotAnswersInTimeForTheLargestGraphItIsGiven) {
  if (!has_dot()) GTEST_SKIP() << "built without graphviz";
  std::vector<LayoutNode> nodes;
  for (int i = 0; i < 400; ++i) nodes.push_back({i / 16, -1, Point{15, 15}});
  std::vector<std::pair<int, int>> edges;
  for (int i = 0; edges.size() < 1500; ++i) {
    const int a = i * 37 % 384, b = std::min(399, a + 16 + i * 53 % 150);
    if (nodes[static_cast<size_t>(a)].rank < nodes[static_cast<size_t>(b)].rank) edges.emplace_back(a, b);
  }
  ASSERT_TRUE(suits_dot(nodes, edges));
  const std::atomic<bool> cancelled{false};
  const auto start = std::chrono::steady_clock::now();
  const std::vector<double> x = dot_columns(nodes, edges, cancelled);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("dot, 400 nodes and 1,500 edges: %.2f s\n", seconds);
  EXPECT_LT(seconds, 30);
  ASSERT_EQ(x.size(), nodes.size());
  for (int r = 0; r < 25; ++r) {
    std::vector<double> row(x.begin() + r * 16, x.begin() + r * 16 + 16);
    std::sort(row.begin(), row.end());
    for (size_t i = 1; i < row.size(); ++i) EXPECT_GE(row[i] - row[i - 1], 30);
  }
}

TEST(GraphLayout, ColumnsAreDrawnTogetherInTheirOrder) {
  std::vector<LayoutNode> nodes;
  std::vector<int> rows;
  std::vector<double> x;
  for (int r = 0; r < 3; ++r)
    for (int i = 0; i < 10; ++i) {
      nodes.push_back({r, -1, Point{15.0 + i, 15}});
      rows.push_back(r);
      x.push_back(r == 0 ? i * 500.0 : r == 1 ? 4000 + i : 100.0 * i * i - 300);
    }
  const std::vector<double> before = x;
  fit_columns(x, nodes, rows, 800);
  for (int r = 0; r < 3; ++r)
    for (size_t i = 1; i < 10; ++i) {
      const size_t at = static_cast<size_t>(r) * 10 + i;
      EXPECT_GE(x[at] - x[at - 1], nodes[at].half.x + nodes[at - 1].half.x + 16 - 1e-9) << at;
    }
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  EXPECT_LT(*most - *least, 1100);
  // One rank of close nodes stands about where it stood, in proportion.
  double mean = 0;
  for (size_t i = 10; i < 20; ++i) mean += x[i] / 10;
  const auto [lo, hi] = std::minmax_element(before.begin(), before.end());
  EXPECT_NEAR(mean, (4004.5 - (*lo + *hi) / 2) * 800 / (*hi - *lo), 1e-6);
  // Narrow enough: as it was.
  std::vector<double> same = before;
  fit_columns(same, nodes, rows, 1e5);
  EXPECT_EQ(same, before);
}

TEST(EdgeCurves, GoRoundTheNodeBetween) {
  const std::vector<NodeBox> nodes = {{{0, 200}, {16, 16}, 0}, {{0, 100}, {16, 16}, 1}, {{0, 0}, {16, 16}, 2}};
  const std::vector<EdgeEnds> edges = {{0, 2, 0}, {0, 1, 0}};
  const std::vector<float> bends = bends_round_nodes(edges, nodes);
  ASSERT_EQ(bends.size(), 2u);
  EXPECT_EQ(bends[1], 0);
  const Bezier c = edge_bezier(edges[0], nodes[0], nodes[2], bends[0]);
  EXPECT_GT(std::abs(c.at(0.5).x), 16);
  EXPECT_EQ(c.a.y, 184);
  EXPECT_EQ(c.b.y, 16);
  EXPECT_TRUE(bends_round_nodes({}, nodes).empty());
}

}  // namespace
}  // namespace microtome::layout
