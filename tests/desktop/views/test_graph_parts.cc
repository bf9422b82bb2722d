// The parts below the graph view: names to ranks, ranks to places, scores to what is drawn.
#include <gtest/gtest.h>

#include <limits>

#include "app/desktop/views/graph_state.h"
#include "tests/desktop/views/graph_samples.h"

namespace microtome::desktop {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

int rankOf(const GraphData& g, const char* name) { return g.nodes.at(static_cast<size_t>(nodeNamed(g, name))).rank; }

TEST(GraphOfCircuit, NamesSayTheRank) {
  const GraphData g = graphOf(smallCircuit(), true);
  ASSERT_EQ(g.nodes.size(), 12u);
  ASSERT_EQ(g.edges.size(), 20u);
  EXPECT_EQ(rankOf(g, "input"), 0);
  EXPECT_EQ(rankOf(g, "a0.h6"), 1);
  EXPECT_EQ(rankOf(g, "m0"), 2);
  EXPECT_EQ(rankOf(g, "a3.h7"), 7);
  EXPECT_EQ(rankOf(g, "m3"), 8);
  EXPECT_EQ(rankOf(g, "logits"), 9);
  const GraphNode& head = g.nodes[static_cast<size_t>(nodeNamed(g, "a3.h7"))];
  EXPECT_EQ(head.label, QLatin1String("3.7"));
  EXPECT_EQ(head.column, 7);
  EXPECT_FALSE(head.box);
  EXPECT_DOUBLE_EQ(head.score, 0.3);
  EXPECT_TRUE(g.nodes[static_cast<size_t>(nodeNamed(g, "m0"))].box);
  EXPECT_EQ(g.rankNames.at(7), QLatin1String("L3"));
  EXPECT_EQ(g.rankNames.at(8), QLatin1String("L3"));
  EXPECT_EQ(g.rankNames.count(0), 0u);
  // "a3.h7<k>" enters at k.
  const GraphEdge& e = g.edges[18];
  EXPECT_EQ(e.from, nodeNamed(g, "a0.h6"));
  EXPECT_EQ(e.to, nodeNamed(g, "a3.h7"));
  EXPECT_EQ(e.port, QLatin1String("k"));
  EXPECT_TRUE(g.edges[2].port.isEmpty());
}

TEST(GraphOfCircuit, UnknownNamesStandAboveWhatLeadsToThem) {
  Circuit c;
  c.nodes = {{"input", true, 0}, {"a1.h0", true, 0}, {"feature 7", true, 0}, {"loop", true, 0}};
  c.edges = {{"feature 7", "later", true, 1}, {"a1.h0", "feature 7<in>", true, 1}, {"input", "a1.h0<q>", true, 1},
             {"loop", "pool", true, 1},       {"pool", "loop", true, 1},           {"later", "logits", true, 1}};
  const GraphData g = graphOf(c, false);
  ASSERT_EQ(g.nodes.size(), 7u);                         // ends that no node has are made
  EXPECT_EQ(rankOf(g, "feature 7"), 4);
  EXPECT_EQ(rankOf(g, "later"), 5);
  for (const GraphNode& n : g.nodes)
    EXPECT_TRUE(n.name == QLatin1String("logits") || n.rank < rankOf(g, "logits"));
  EXPECT_TRUE(g.nodes[static_cast<size_t>(nodeNamed(g, "later"))].box);
}

TEST(GraphOfCircuit, HostileNamesAreNames) {
  Circuit c;
  for (const char* n : {"", "a", "m", "a.h", "a1.h", "a1.h2x", "m-1", "m99999999999999999999",
                        "a3.h99999999999999", "<q>", "a1.h2<q", "\xff\xfe", "a1.h2"})
    c.nodes.push_back({n, true, kNaN});
  c.edges = {{"<q>", "a1.h2<q>", true, kNaN}, {"", "<>", true, kInf}, {"a1.h2<q>", "a1.h2<<k>>", true, 1}};
  const GraphData g = graphOf(c, false);
  EXPECT_EQ(rankOf(g, "a1.h2"), 3);
  EXPECT_LT(rankOf(g, "m99999999999999999999"), 10);
  for (const GraphEdge& e : g.edges) EXPECT_TRUE(e.from >= 0 && e.to >= 0 && e.to < static_cast<int>(g.nodes.size()));
}

TEST(GraphOfCircuit, MembersOnly) {
  Circuit c = smallCircuit();
  c.nodes[1].in_graph = false;                           // a0.h1: its edges go with it
  c.edges[2].in_graph = false;
  const GraphData g = graphOf(c, true);
  EXPECT_EQ(nodeNamed(g, "a0.h1"), -1);
  EXPECT_EQ(g.nodes.size(), 11u);
  EXPECT_EQ(g.edges.size(), 17u);
  EXPECT_EQ(graphOf(c, false).edges.size(), 20u);
  EXPECT_EQ(graphOf(c, false).nodes.size(), 12u);
}

TEST(GraphLayout, SameHeadSameColumn) {
  GraphState s;
  s.set(graphOf(fullCircuit(4, 6), true));
  const auto at = [&](const char* n) { return s.place(nodeNamed(s.data, n)).centre; };
  EXPECT_DOUBLE_EQ(at("a0.h2").x(), at("a3.h2").x());
  EXPECT_LT(at("a0.h2").x(), at("a0.h3").x());
  EXPECT_NEAR(at("m1").x(), 0, 1e-6);
}

TEST(GraphEdges, TheStrongestAreKeptAndTheLegendSaysSo) {
  GraphData data;
  data.nodes.resize(100);
  for (int i = 0; i < 250'000; ++i) data.edges.push_back({i % 100, (i * 31 + 1) % 100, {}, i * (i % 2 ? 1e-3 : -1e-3)});
  GraphState s;
  s.set(data);
  EXPECT_EQ(s.shown, kMostEdges);
  EXPECT_EQ(s.edges->total, 250'000u);
  EXPECT_NEAR(s.edges->magnitudes.back(), 50, 1e-6);
  EXPECT_EQ(s.countText(), QStringLiteral("200,000 of 250,000 edges shown, the strongest"));
  s.setThreshold(245);
  EXPECT_EQ(s.countText(), QStringLiteral("5,000 of 250,000 edges shown, |score| ≥ 245"));
  EXPECT_TRUE(s.edges->records[0].sign > 0 && s.edges->records[1].sign < 0);
}

TEST(GraphEdges, ScoresThatAreNoNumbers) {
  GraphData data;
  data.nodes.resize(2);
  for (double score : {0.5, kNaN, -kInf, 0.0, -1.0}) data.edges.push_back({0, 1, {}, score});
  GraphState s;
  s.set(data);
  EXPECT_EQ(s.edges->largest, 1);
  EXPECT_EQ(s.edges->records.front().edge, 2);
  EXPECT_EQ(s.edges->records.front().strength, 1);
  EXPECT_EQ(s.edges->records.back().edge, 1);
  EXPECT_EQ(s.shown, 5u);
  s.setThreshold(0.1);
  EXPECT_EQ(s.shown, 3u);
  EXPECT_EQ(s.degree(0), 3);
}

TEST(GraphEdges, FadedAndDegreeFollowTheThreshold) {
  GraphState s;
  s.set(graphOf(smallCircuit(), true));
  const int head = nodeNamed(s.data, "a3.h1"), m3 = nodeNamed(s.data, "m3");
  EXPECT_EQ(s.degree(head), 4);
  EXPECT_FALSE(s.isFaded(m3));
  s.setThreshold(0.5);
  EXPECT_EQ(s.degree(head), 2);
  EXPECT_TRUE(s.isFaded(m3));
  EXPECT_EQ(s.edgesOf(head).size(), 2u);
  EXPECT_EQ(s.nodeText(head), QStringLiteral("a3.h1 · score 0.3 · 2 edges shown"));
  s.data.nodes[static_cast<size_t>(head)].note = QStringLiteral("<img src=x>");
  EXPECT_FALSE(s.nodeHtml(head).contains(QLatin1String("<img")));
}

TEST(GraphEdges, CurvesGoRoundNodes) {
  GraphData data;
  for (int i = 0; i < 3; ++i) {
    GraphNode n;
    n.name = QString::number(i);
    n.rank = i;
    data.nodes.push_back(n);
  }
  data.edges = {{0, 1, {}, 1}, {1, 2, {}, 1}, {0, 2, {}, 1}};
  GraphState s;
  s.set(data);
  const EdgeScene scene = s.scene();
  for (size_t i = 0; i < 3; ++i) {
    const Curve c = edgeCurve(scene, i);
    const EdgeRecord& r = scene.edges->records[i];
    for (int k = 0; k <= 20; ++k) {
      const QPointF d = c.at(k / 20.0) - s.place(1).centre;
      EXPECT_TRUE(r.from == 1 || r.to == 1 || std::hypot(d.x(), d.y()) > s.place(1).half.width());
      EXPECT_TRUE(c.box().contains(c.at(k / 20.0)));
    }
  }
  // And the one that passes is found where it passes, not where it would have run straight.
  const Curve around = edgeCurve(scene, 2);
  EXPECT_EQ(nearestEdge(scene, around.at(0.5) + QPointF(2, 0), 5), 2);
  EXPECT_EQ(nearestEdge(scene, around.at(0.5) + QPointF(around.at(0.5).x() > 0 ? 9 : -9, 0), 5), -1);
}

}  // namespace
}  // namespace microtome::desktop
