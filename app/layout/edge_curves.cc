#include "app/layout/edge_curves.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace microtome::layout {
namespace {

constexpr size_t kRoutedEdges = 1500, kRoutedNodes = 400;
constexpr int kSamples = 24;
constexpr double kClear = 5;           // between an edge and a node it passes

const NodeBox& box_of(const std::vector<NodeBox>& nodes, int i) { return nodes[static_cast<size_t>(i)]; }

// How many of some points on the curve lie behind nodes that it does not join.
int hits_of(const Bezier& c, const EdgeEnds& e, const std::vector<NodeBox>& nodes, const std::vector<int>& others) {
  int hits = 0;
  for (int k = 1; k < kSamples; ++k) {
    const Point p = c.at(static_cast<double>(k) / kSamples);
    for (int i : others) {
      const NodeBox& n = box_of(nodes, i);
      const double dx = std::abs(p.x - n.centre.x), dy = std::abs(p.y - n.centre.y);
      if (dy < n.half.y + kClear && dx < n.half.x + kClear && i != e.from && i != e.to) ++hits;
    }
  }
  return hits;
}

}  // namespace

Point Bezier::at(double t) const {
  const double u = 1 - t, p = u * u * u, q = 3 * u * u * t, r = 3 * u * t * t, s = t * t * t;
  return {p * a.x + q * c1.x + r * c2.x + s * b.x, p * a.y + q * c1.y + r * c2.y + s * b.y};
}

double ruled_bend(const EdgeEnds& e, const NodeBox& from, const NodeBox& to) {
  const double dx = to.centre.x - from.centre.x;
  const int span = std::abs(to.row - from.row);
  if (span <= 1 || std::abs(dx) >= 24.0 * span) return 0;
  // Straight up it would run through the nodes between: it goes round them, outwards.
  const double middle = (from.centre.x + to.centre.x) / 2;
  const double side = middle > 1 ? 1 : middle < -1 ? -1 : (e.from + e.to) % 2 ? 1 : -1;
  return side * std::min(36.0 + 8.0 * span, 140.0) * (1 - std::abs(dx) / (24.0 * span));
}

Bezier edge_bezier(const EdgeEnds& e, const NodeBox& from, const NodeBox& to, double bend) {
  const double enter = e.shift * to.half.x * 0.5;
  if (e.from == e.to) {
    const double x = from.centre.x + from.half.x, y = from.centre.y;
    return {{x, y - 4}, {x + 32, y - 24}, {x + 32, y + 24}, {x, y + 4}};
  }
  const double dx = to.centre.x - from.centre.x, dy = to.centre.y - from.centre.y;
  if (std::abs(dy) < from.half.y + to.half.y) {
    // Side by side: an arch over both.
    const double rise = 24 + std::abs(dx) * 0.25;
    const Point a{from.centre.x, from.centre.y - from.half.y}, b{to.centre.x + enter, to.centre.y - to.half.y};
    return {a, {a.x, a.y - rise}, {b.x, b.y - rise}, b};
  }
  const double up = dy < 0 ? -1 : 1;                    // leaves where it goes to
  const Point a{from.centre.x, from.centre.y + up * from.half.y};
  const Point b{to.centre.x + enter, to.centre.y - up * to.half.y};
  const double reach = (b.y - a.y) * 0.45;
  return {a, {a.x + bend, a.y + reach}, {b.x + bend, b.y - reach}, b};
}

std::vector<float> bends_round_nodes(const std::vector<EdgeEnds>& edges, const std::vector<NodeBox>& nodes) {
  if (edges.empty() || edges.size() > kRoutedEdges || nodes.size() > kRoutedNodes) return {};
  std::vector<float> bends;
  bends.reserve(edges.size());
  std::vector<int> others;
  for (const EdgeEnds& e : edges) {
    const double y0 = box_of(nodes, e.from).centre.y, y1 = box_of(nodes, e.to).centre.y;
    const auto [top, bottom] = std::minmax(y0, y1);
    others.clear();
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i].centre.y > top && nodes[i].centre.y < bottom) others.push_back(static_cast<int>(i));
    double best = 0, least = std::numeric_limits<double>::infinity();
    // The gentlest that hits least.
    for (double bend : {0.0, 28.0, -28.0, 56.0, -56.0, 90.0, -90.0, 130.0, -130.0}) {
      const double cost = hits_of(edge_bezier(e, box_of(nodes, e.from), box_of(nodes, e.to), bend), e, nodes, others) + std::abs(bend) * 0.002;
      if (cost < least) {
        least = cost;
        best = bend;
      }
      if (least < 0.002) break;
    }
    bends.push_back(static_cast<float>(best));
  }
  return bends;
}

}  // namespace microtome::layout
