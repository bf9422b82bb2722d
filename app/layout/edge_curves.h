// edge_curves.h — the shape of edges: where a curve leaves and enters, and how it goes round the nodes between. Pure functions.
#pragma once

#include <vector>

#include "app/layout/graph_layout.h"

namespace microtome::layout {

struct NodeBox {
  Point centre, half;                  // half width and height
  int row = 0;                         // its rank among the ranks that hold nodes, 0 lowest
};

struct EdgeEnds {
  int from = 0, to = 0;                // indices of nodes
  float shift = 0;                     // where it enters the node, −1…1 across its width
};

// A cubic Bézier curve from a to b.
struct Bezier {
  Point a, c1, c2, b;
  Point at(double t) const;
};
// bend: how far it is pulled sideways.
Bezier edge_bezier(const EdgeEnds& edge, const NodeBox& from, const NodeBox& to, double bend);
// A bend by a rule of thumb, from the two ends alone.
double ruled_bend(const EdgeEnds& edge, const NodeBox& from, const NodeBox& to);
// Bends with which the edges run behind as few nodes as may be, one an edge. Empty for no edges and for graphs that are too
// large to be read that closely (1,500 edges, 400 nodes).
std::vector<float> bends_round_nodes(const std::vector<EdgeEnds>& edges, const std::vector<NodeBox>& nodes);

}  // namespace microtome::layout
