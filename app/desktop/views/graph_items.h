// graph_items.h — how a graph looks: stripes and names of layers, outlines of groups, edges, nodes, the legend. Each is a
// function over a GraphState, used by the few items of the canvas and by the exported picture alike.
#pragma once

#include <QGraphicsItem>
#include <QRectF>

#include "app/desktop/views/graph_state.h"

class QPainter;

namespace microtome::desktop {

class EdgeLayer;

// In scene units; `scale` pixels a unit decides on detail, `clip` is what is seen.
void paintRankStripes(QPainter& painter, const GraphState& state, const QRectF& clip);
void paintGroups(QPainter& painter, const GraphState& state);        // outlines: below the edges
void paintGroupNames(QPainter& painter, const GraphState& state);    // above all
void paintNodes(QPainter& painter, const GraphState& state, double scale, const QRectF& clip);
// Edges that stand out: of the selected node, of the selected edge. toDevice as in paintEdges.
void paintStandingOut(QPainter& painter, const GraphState& state, const QTransform& toDevice, const QRectF& clip);
// Whether anything stands out, and so the others step back.
bool somethingStandsOut(const GraphState& state);
constexpr double kSteppedBack = 0.16;  // presence of edges that step back

// "L0"… at the left of `area`, in pixels.
void paintRankNames(QPainter& painter, const GraphState& state, const QTransform& toDevice, const QRectF& area);
constexpr int kRankNameWidth = 40;

// Signs, widths, kinds of nodes and the count, in one line; what has no room is left out, the count last.
void paintLegend(QPainter& painter, const GraphState& state, const QRectF& area, double scale);
constexpr int kLegendHeight = 4 * kGrid;

// The items of the canvas: four, whatever the size of the graph.
class GraphItem : public QGraphicsItem {
 public:
  enum class Part { kGroups, kEdges, kNodes };
  GraphItem(Part part, const GraphState& state, const EdgeLayer* layer = nullptr);
  void setArea(const QRectF& area);
  QRectF boundingRect() const override { return area_; }
  void paint(QPainter* painter, const QStyleOptionGraphicsItem* option, QWidget* widget) override;

 private:
  Part part_;
  const GraphState& state_;
  const EdgeLayer* layer_;
  QRectF area_;
};

}  // namespace microtome::desktop
