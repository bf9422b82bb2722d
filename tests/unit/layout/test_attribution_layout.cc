// Places of an attribution graph: rows by layer, columns by token, nothing on anything else, hidden nodes without a place.
#include "app/layout/attribution_layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace microtome::layout {
namespace {

using Kind = AttributionGraph::Kind;

AttributionGraph grid(int layers, int positions, int features) {
  AttributionGraph g;
  g.n_layers = layers;
  for (int64_t p = 0; p < positions; ++p) g.nodes.push_back({Kind::kToken, -1, p, p, 1, 0, true, ""});
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t f = 0; f < features; ++f) g.nodes.push_back({Kind::kFeature, l, p, f, 1, 0.01 * static_cast<double>(f), true, ""});
      g.nodes.push_back({Kind::kError, l, p, -1, 0, 9, true, ""});
    }
  for (int64_t k = 0; k < 5; ++k) g.nodes.push_back({Kind::kLogit, layers, positions - 1, k, 0.1 * static_cast<double>(k), 0, true, ""});
  return g;
}

void expect_apart(const AttributionGraph& g, const std::vector<char>& shown, const std::vector<Point>& half, const AttributionPlacement& at) {
  for (size_t a = 0; a < g.nodes.size(); ++a)
    for (size_t b = a + 1; b < g.nodes.size(); ++b) {
      if (!shown[a] || !shown[b]) continue;
      const bool apart = std::fabs(at.centres[a].x - at.centres[b].x) >= half[a].x + half[b].x || std::fabs(at.centres[a].y - at.centres[b].y) >= half[a].y + half[b].y;
      ASSERT_TRUE(apart) << a << " " << b;
    }
}

TEST(AttributionLayout, RowsColumnsAndRoom) {
  for (int features : {1, 4, 30}) {
    const AttributionGraph g = grid(3, 5, features);
    const std::vector<char> shown(g.nodes.size(), 1);
    const std::vector<Point> half(g.nodes.size(), Point{20, 13});
    const AttributionPlacement at = place_attribution(g, shown, half);
    ASSERT_EQ(at.rows.size(), 5u);                     // text, three layers, logits
    expect_apart(g, shown, half, at);
    // A column is a position in every layer: the extents of two positions never overlap.
    std::map<int64_t, std::pair<double, double>> extent;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      if (g.nodes[i].kind == Kind::kLogit) continue;
      auto [e, fresh] = extent.try_emplace(g.nodes[i].position, INFINITY, -INFINITY);
      e->second.first = std::min(e->second.first, at.centres[i].x - half[i].x);
      e->second.second = std::max(e->second.second, at.centres[i].x + half[i].x);
    }
    double last = -INFINITY;
    for (const auto& [position, e] : extent) {
      EXPECT_GE(e.first, last) << position;
      last = e.second;
    }
    // Each node lies in the stripe of its rank; stripes do not overlap, the lowest has the largest y.
    for (size_t r = 1; r < at.rows.size(); ++r) EXPECT_LE(at.rows[r].bottom, at.rows[r - 1].top + 1e-9);
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      const int rank = at.ranks[i];
      bool inside = false;
      for (const RankRow& row : at.rows)
        if (row.rank == rank) inside = at.centres[i].y + half[i].y <= row.bottom && at.centres[i].y - half[i].y >= row.top;
      EXPECT_TRUE(inside) << i;
    }
  }
}

TEST(AttributionLayout, TheMostInfluentialFirstErrorsLast) {
  const AttributionGraph g = grid(1, 1, 3);
  const std::vector<Point> half(g.nodes.size(), Point{20, 13});
  const AttributionPlacement at = place_attribution(g, std::vector<char>(g.nodes.size(), 1), half);
  // Features 0, 1, 2 with growing influence and the error: reading order is 2, 1, 0, error.
  const auto before = [&](size_t a, size_t b) { return at.centres[a].y > at.centres[b].y || (at.centres[a].y == at.centres[b].y && at.centres[a].x < at.centres[b].x); };
  EXPECT_TRUE(before(3, 2));
  EXPECT_TRUE(before(2, 1));
  EXPECT_TRUE(before(1, 4));
}

TEST(AttributionLayout, WhatIsHiddenTakesNoRoom) {
  const AttributionGraph g = grid(4, 3, 20);
  std::vector<char> shown(g.nodes.size(), 0);
  shown[0] = shown[1] = shown[2] = 1;
  shown[g.nodes.size() - 1] = 1;
  const std::vector<Point> half(g.nodes.size(), Point{20, 13});
  const AttributionPlacement at = place_attribution(g, shown, half);
  EXPECT_EQ(at.rows.size(), 2u);
  expect_apart(g, shown, half, at);
  EXPECT_TRUE(place_attribution({}, {}, {}).rows.empty());
}

}  // namespace
}  // namespace microtome::layout
