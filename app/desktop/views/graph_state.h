// graph_state.h — what a GraphView shows and what a person did to it, without any widget: the graph, its edges sorted by
// strength, the places of its nodes, what is selected, pinned, grouped, knocked out. The canvas, the items, the legend and
// the exported picture all read this one thing.
#pragma once

#include <QRectF>
#include <QString>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/graph_edges.h"
#include "app/desktop/views/graph_view.h"
#include "app/layout/graph_layout.h"

namespace microtome::desktop {

using layout::LayoutNode;
using layout::RankRow;

struct GraphState {
  GraphData data;
  std::shared_ptr<const SortedEdges> edges = std::make_shared<SortedEdges>();
  // Replaced and never changed: a worker may be drawing from the old one.
  std::shared_ptr<const std::vector<NodePlace>> places = std::make_shared<std::vector<NodePlace>>();
  std::shared_ptr<const std::vector<float>> bends;
  std::vector<LayoutNode> layout;
  std::vector<RankRow> ranks;
  std::vector<QString> labels;         // what stands in the node: cleaned, elided
  std::vector<char> pinned;
  QRectF bounds;                       // of all nodes, with a margin
  double threshold = 0;
  size_t shown = 0;                    // of edges->records

  int selected = -1;                   // node
  int selectedEdge = -1;               // index into edges->records
  int hovered = -1;                    // node
  std::set<int> marked, knockedOut;    // marked: for a group, with Ctrl and the mouse
  std::set<int> ringed;                // nodes that stand in the other graph too
  const Theme* theme = &Theme::light();
  QString emptyText;

  void set(GraphData graph);
  void setThreshold(double value);
  // One a GraphData::edges; the selected edge stays selected.
  void setLevels(const std::vector<double>& levels, double value);
  // One a GraphData::edges, empty: none steps back.
  void setDimmed(const std::vector<char>& dimmed);
  int recordOf(int edge) const;        // -1: none
  int nodeCount() const { return static_cast<int>(data.nodes.size()); }
  bool exists(int node) const { return node >= 0 && node < nodeCount(); }
  const NodePlace& place(int node) const { return (*places)[static_cast<size_t>(node)]; }
  void moveNode(int node, const QPointF& centre);
  // After moves: lets the edges go round the nodes where they now are.
  void routeEdges();
  // x of every node that is not pinned; y stays.
  void setColumns(const std::vector<double>& x);

  // Records of a node's shown edges, strongest first.
  std::vector<int> edgesOf(int node) const;
  int degree(int node) const;
  // True where no shown edge begins or ends.
  bool isFaded(int node) const { return firstEdge_[static_cast<size_t>(node)] >= shown; }
  int nodeAt(const QPointF& scenePoint, double reach) const;      // topmost; -1: none
  // The next node in a direction, for the arrow keys: dx, dy are −1, 0 or 1, dy > 0 upwards.
  int neighbour(int node, int dx, int dy) const;
  EdgeScene scene() const;
  // Groups by name, with their nodes.
  std::map<QString, std::vector<int>> groups() const;

  QString nodeText(int node) const;    // name, score, degree, note: one line
  QString nodeHtml(int node) const;    // the same as a tooltip; nothing of it is taken as markup
  QString edgeText(int record) const;  // "a0.h1 → a3.h2 (q): 0.123"
  QString countText() const;           // "5,000 of 32,491 edges shown, |score| ≥ 0.012"
  QString scoreName() const;           // "score" unless the graph says otherwise

 private:
  void sortAndIndex();
  void measure();
  void findBounds();
  std::vector<size_t> firstEdge_;      // a node's strongest record
  std::vector<size_t> start_;          // into adjacent_, one a node and one more
  std::vector<int> adjacent_;          // records, ascending
  std::vector<char> dimmed_;           // one an edge; empty: none
};

// "32,491"
QString countedText(qint64 count);
// The font of labels in nodes, in scene units.
QFont nodeFont(bool bold = false);

}  // namespace microtome::desktop
