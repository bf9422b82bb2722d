// graph_layout.h — where the nodes of a graph stand: by rank and column at once, and by graphviz's `dot` for graphs that are
// small enough to be read edge by edge. Without Qt, for window and report alike; a build without graphviz has the ranks only.
// Units are pixels at a zoom of 1; y grows downwards, so rank 0 has the largest.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

namespace microtome::layout {

struct Point {
  double x = 0, y = 0;
};

struct LayoutNode {
  int rank = 0;
  int column = -1;                     // wish; -1: none
  Point half;                          // half width and height
};

struct RankRow {
  int rank = 0;
  double y = 0, top = 0, bottom = 0;   // its middle and the stripe that belongs to it: top < bottom
};

struct Placement {
  std::vector<Point> centres;          // one a node, x about 0
  std::vector<int> rows;               // one a node: which of `ranks`
  std::vector<RankRow> ranks;          // lowest first; only ranks that hold nodes
};
// Any rank and column will do: ranks without nodes take no room, and columns that are far apart or taken twice become an
// order. Ranks of more than 48 nodes without columns are folded into rows.
Placement place_by_rank(const std::vector<LayoutNode>& nodes);

// Whether this program was built with graphviz.
bool has_dot();
// Small enough for `dot` to answer in a second or two, and for its answer to help. Never without graphviz.
bool suits_dot(const std::vector<LayoutNode>& nodes, const std::vector<std::pair<int, int>>& edges);

// x of each node, about 0, by `dot` with the given ranks; y stays with the ranks. Empty when cancelled before the start, or
// when graphviz fails. Call from any thread: graphviz is not thread-safe, so one call runs at a time and the others wait.
// No text of the graph reaches graphviz.
std::vector<double> dot_columns(const std::vector<LayoutNode>& nodes, const std::vector<std::pair<int, int>>& edges,
                                const std::atomic<bool>& cancelled);

// Draws columns together that are spread wider than `width`: dot gives room to every edge that crosses a rank. The order in a
// rank stays, and nodes side by side keep their distance, so that a full rank may still be wider. rows: Placement::rows.
void fit_columns(std::vector<double>& x, const std::vector<LayoutNode>& nodes, const std::vector<int>& rows, double width);

}  // namespace microtome::layout
