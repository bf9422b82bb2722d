// The shape of edges, from app/layout, in Qt's types.
#include "app/desktop/views/graph_edges.h"
#include "app/layout/edge_curves.h"

namespace microtome::desktop {
namespace {

layout::NodeBox boxOf(const NodePlace& p) { return {{p.centre.x(), p.centre.y()}, {p.half.width(), p.half.height()}, p.row}; }
layout::EdgeEnds endsOf(const EdgeRecord& r) { return {r.from, r.to, r.shift}; }
QPointF pointOf(const layout::Point& p) { return {p.x, p.y}; }

}  // namespace

Curve edgeCurve(const EdgeScene& scene, size_t record) {
  const EdgeRecord& r = scene.edges->records[record];
  const layout::EdgeEnds ends = endsOf(r);
  const layout::NodeBox from = boxOf((*scene.places)[static_cast<size_t>(r.from)]), to = boxOf((*scene.places)[static_cast<size_t>(r.to)]);
  const layout::Bezier c = layout::edge_bezier(ends, from, to, scene.bends ? (*scene.bends)[record] : layout::ruled_bend(ends, from, to));
  return {pointOf(c.a), pointOf(c.c1), pointOf(c.c2), pointOf(c.b)};
}

std::shared_ptr<const std::vector<float>> bendsRoundNodes(const SortedEdges& edges, const std::vector<NodePlace>& places) {
  // Asked here too, so that nothing is copied of a graph of 200,000 edges.
  if (edges.records.size() > 1500) return nullptr;
  std::vector<layout::EdgeEnds> ends;
  std::vector<layout::NodeBox> boxes;
  for (const EdgeRecord& r : edges.records) ends.push_back(endsOf(r));
  for (const NodePlace& p : places) boxes.push_back(boxOf(p));
  std::vector<float> bends = layout::bends_round_nodes(ends, boxes);
  if (bends.empty()) return nullptr;
  return std::make_shared<const std::vector<float>>(std::move(bends));
}

}  // namespace microtome::desktop
