// The shape of edges: where a curve leaves and enters, and how it goes round the nodes between.
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/views/graph_edges.h"

namespace microtome::desktop {
namespace {

constexpr size_t kRoutedEdges = 1500, kRoutedNodes = 400;
constexpr int kSamples = 24;
constexpr double kClear = 5;           // between an edge and a node it passes

double ruledBend(const EdgeRecord& r, const std::vector<NodePlace>& places) {
  const NodePlace& from = places[static_cast<size_t>(r.from)];
  const NodePlace& to = places[static_cast<size_t>(r.to)];
  const double dx = to.centre.x() - from.centre.x();
  const int span = std::abs(to.row - from.row);
  if (span <= 1 || std::abs(dx) >= 24.0 * span) return 0;
  // Straight up it would run through the nodes between: it goes round them, outwards.
  const double middle = (from.centre.x() + to.centre.x()) / 2;
  const double side = middle > 1 ? 1 : middle < -1 ? -1 : (r.from + r.to) % 2 ? 1 : -1;
  return side * std::min(36.0 + 8.0 * span, 140.0) * (1 - std::abs(dx) / (24.0 * span));
}

Curve curve(const EdgeRecord& r, const std::vector<NodePlace>& places, double bend) {
  const NodePlace& from = places[static_cast<size_t>(r.from)];
  const NodePlace& to = places[static_cast<size_t>(r.to)];
  const double enter = r.shift * to.half.width() * 0.5;
  if (r.from == r.to) {
    const QPointF side(from.centre.x() + from.half.width(), from.centre.y());
    return {side + QPointF(0, -4), side + QPointF(32, -24), side + QPointF(32, 24), side + QPointF(0, 4)};
  }
  const double dx = to.centre.x() - from.centre.x(), dy = to.centre.y() - from.centre.y();
  if (std::abs(dy) < from.half.height() + to.half.height()) {
    // Side by side: an arch over both.
    const double rise = 24 + std::abs(dx) * 0.25;
    const QPointF a = from.centre - QPointF(0, from.half.height()), b = to.centre + QPointF(enter, -to.half.height());
    return {a, a - QPointF(0, rise), b - QPointF(0, rise), b};
  }
  const double up = dy < 0 ? -1 : 1;                    // leaves where it goes to
  const QPointF a = from.centre + QPointF(0, up * from.half.height());
  const QPointF b = to.centre + QPointF(enter, -up * to.half.height());
  const double reach = (b.y() - a.y()) * 0.45;
  return {a, a + QPointF(bend, reach), b + QPointF(bend, -reach), b};
}

// How many of some points on the curve lie behind nodes that it does not join.
int hitsOf(const Curve& c, const EdgeRecord& r, const std::vector<NodePlace>& places, const std::vector<int>& others) {
  int hits = 0;
  for (int k = 1; k < kSamples; ++k) {
    const QPointF p = c.at(static_cast<double>(k) / kSamples);
    for (int i : others) {
      const NodePlace& n = places[static_cast<size_t>(i)];
      const double dx = std::abs(p.x() - n.centre.x()), dy = std::abs(p.y() - n.centre.y());
      if (dy < n.half.height() + kClear && dx < n.half.width() + kClear && i != r.from && i != r.to) ++hits;
    }
  }
  return hits;
}

}  // namespace

Curve edgeCurve(const EdgeScene& scene, size_t record) {
  const EdgeRecord& r = scene.edges->records[record];
  return curve(r, *scene.places, scene.bends ? (*scene.bends)[record] : ruledBend(r, *scene.places));
}

std::shared_ptr<const std::vector<float>> bendsRoundNodes(const SortedEdges& edges, const std::vector<NodePlace>& places) {
  if (edges.records.empty() || edges.records.size() > kRoutedEdges || places.size() > kRoutedNodes) return nullptr;
  auto bends = std::make_shared<std::vector<float>>();
  bends->reserve(edges.records.size());
  std::vector<int> others;
  for (const EdgeRecord& r : edges.records) {
    const double y0 = places[static_cast<size_t>(r.from)].centre.y(), y1 = places[static_cast<size_t>(r.to)].centre.y();
    const auto [top, bottom] = std::minmax(y0, y1);
    others.clear();
    for (size_t i = 0; i < places.size(); ++i)
      if (places[i].centre.y() > top && places[i].centre.y() < bottom) others.push_back(static_cast<int>(i));
    double best = 0, least = std::numeric_limits<double>::infinity();
    // The gentlest that hits least.
    for (double bend : {0.0, 28.0, -28.0, 56.0, -56.0, 90.0, -90.0, 130.0, -130.0}) {
      const double cost = hitsOf(curve(r, places, bend), r, places, others) + std::abs(bend) * 0.002;
      if (cost < least) {
        least = cost;
        best = bend;
      }
      if (least < 0.002) break;
    }
    bends->push_back(static_cast<float>(best));
  }
  return bends;
}

}  // namespace microtome::desktop
