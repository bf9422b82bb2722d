// graph_view.h — a circuit on a zoomable canvas: nodes in ranks (layers upward), edges whose width and colour say score and
// sign. QGraphicsView; places come from graphviz (`dot` for small graphs, ranks by layer for large ones). 30,000 edges stay
// fluid: edges are batched into few items, drawn by level of detail, and a threshold hides without a new layout.
#pragma once

#include <QPointF>
#include <QSizeF>
#include <QString>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/view.h"
#include "core/base/artifact.h"

namespace microtome::desktop {

struct GraphNode {
  QString name, label;                 // "a3.h1"; shown: "3.1"
  int rank = 0;                        // 0 lowest (input); equal ranks stand side by side
  int column = -1;                     // wish inside the rank (head number); -1: by graphviz
  LayerKind kind = LayerKind::kNone;   // fill colour
  bool box = false;                    // MLPs, input, logits; else a circle (heads)
  double score = 0;
  QString note, group;                 // shown on hover; nodes of one group get a common outline and name
};

struct GraphEdge {
  int from = 0, to = 0;                // indices of nodes
  QString port;                        // "q", "k", "v", "beta"…: where it enters
  double score = 0;
  // What a threshold is compared with, where that is not |score|: the edge is shown while level >= threshold.
  double level = std::numeric_limits<double>::quiet_NaN();
};

// A stripe of the picture, for graphs that bring their own places.
struct GraphRow {
  int rank = 0;
  double y = 0, top = 0, bottom = 0;   // its middle and its stripe, top < bottom
};

struct GraphData {
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
  // Centres, one a node, in units of a zoom of 1, and the stripes, lowest first: both as they are given. Empty: by rank and column.
  std::vector<QPointF> places;
  std::vector<GraphRow> rows;
  QString scoreLabel, nodeScoreLabel, help;              // nodeScoreLabel empty: as scoreLabel
  bool grid = false;                   // nodes stay where rank and column put them: `dot` is not asked
  std::map<int, QString> rankNames;    // rank → "L3", at the left; ranks of one name that lie together are one stripe
};
// The half width and height that a node is drawn with, at a zoom of 1; a circle may be a little smaller.
QSizeF nodeHalfSize(const GraphNode& node);
// Nodes and edges of a circuit artifact; what is not in_graph is left out when onlyMembers.
GraphData graphOf(const Circuit& circuit, bool onlyMembers);

class GraphView : public View {
  Q_OBJECT
 public:
  explicit GraphView(QWidget* parent = nullptr);
  ~GraphView() override;
  // Places nodes at once by rank and column; `dot` refines in a worker thread when the graph is small enough, and moves
  // nodes when it is done, unless pinned.
  // keepView: zoom stays where a person has zoomed or panned; moveView() then puts what was looked at back into place.
  void setGraph(GraphData data, bool keepView = false);
  void clear(const QString& emptyText = {});
  const GraphData& graph() const;
  // Edges with |score| (or their own level) >= threshold are shown, of the strongest 200,000; nodes without any shown edge
  // fade. Kept by setGraph. Edges without a score (NaN) are shown at 0 only.
  void setThreshold(double threshold);
  // Other levels, one an edge, and the threshold for them; nodes stay where they are. A wrong number of levels is ignored.
  void setLevels(const std::vector<double>& levels, double threshold);
  double threshold() const;
  int visibleEdges() const;
  void setSelectedNode(int node);                      // -1: none; its edges stand out, others fade
  void setSelectedEdge(int edge);                      // -1: none
  int selectedEdge() const;
  void setKnockedOut(const std::set<int>& nodes);      // crossed out
  // Ringed nodes, and edges (one flag an edge) beside which all others step back. Both empty: nothing is marked.
  void setMarked(const std::set<int>& nodes, const std::vector<char>& edges);
  void setPinned(int node, bool pinned);
  void setNodeNote(int node, const QString& note);
  void setGroup(const std::set<int>& nodes, const QString& name);   // empty name: of no group
  int selectedNode() const;
  bool isPinned(int node) const;
  // The centre of a node in the graph's own units, as a pinned node is kept; moving it does not pin it.
  QPointF nodePlace(int node) const;
  void setNodePlace(int node, const QPointF& centre);
  // Where a node, or the middle of an edge, is seen: in this widget's coordinates.
  QPointF nodePosition(int node) const;
  QPointF edgePosition(int edge) const;
  void zoomToFit();
  bool isFitted() const;                               // nobody has zoomed or panned since
  void moveView(const QPointF& pixels);                // moves what is seen by so much

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QString csv() const override;                        // from, to, port, score

 Q_SIGNALS:
  void nodeClicked(int node);
  void nodeActivated(int node);
  void edgeClicked(int edge);
  void selectionCleared();                             // Esc, or a click beside everything
  void edited();                                       // a person pinned, annotated or grouped: see graph(), isPinned()
  void layoutDone();                                   // `dot` has placed the nodes
  void menuMade(QMenu* menu);                          // the owner may add to it

 protected:
  void addActions(QMenu& menu) override;               // Fit, Pin, Group…, Annotate…
  void changeEvent(QEvent*) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
