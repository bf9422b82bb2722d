// graph_edges.h — the edges of a graph as geometry: curves between nodes, how wide and how strong they are drawn, which one
// lies below the mouse. Pure functions over immutable data, so that a worker thread can draw what the window shows.
#pragma once

#include <QColor>
#include <QPainterPath>
#include <QPointF>
#include <QRectF>
#include <QSizeF>
#include <QTransform>
#include <atomic>
#include <memory>
#include <vector>

class QPainter;

namespace microtome::desktop {

struct GraphData;
struct Theme;

// Edges beyond the strongest 200,000 are not drawn.
constexpr size_t kMostEdges = 200'000;

struct NodePlace {
  QPointF centre;
  QSizeF half;                         // half width and height
  int row = 0;                         // its rank among the ranks that hold nodes, 0 lowest
  bool box = false;
};

struct EdgeRecord {
  int edge = 0, from = 0, to = 0;      // index into GraphData::edges; indices of nodes
  float strength = 0;                  // |score| over the largest finite |score|, 0…1
  float shift = 0;                     // where it enters the node, −1…1 across its width: q left, k middle, v right
  qint8 sign = 0;                      // 0: no score, or 0
  bool dimmed = false;                 // steps back beside those that are not
};

struct SortedEdges {
  std::vector<EdgeRecord> records;     // by level, which is the strength unless the graph says otherwise; without a score last
  std::vector<double> magnitudes;      // |score| of each; −1 without a score
  std::vector<double> levels;          // what a threshold is compared with
  bool leveled = false;                // levels are not |score|
  double largest = 0;                  // finite
  size_t total = 0;                    // before the cut at kMostEdges; edges whose ends do not exist are not counted
  // How many are shown: they come first. Edges without a score are shown at a threshold of 0 only.
  size_t shownAt(double threshold) const;
};
SortedEdges sortEdges(const GraphData& data);

// All that a picture of the edges depends on but where it is looked at from.
struct EdgeScene {
  std::shared_ptr<const SortedEdges> edges;
  std::shared_ptr<const std::vector<NodePlace>> places;
  // One a record: how far the curve is pulled sideways to go round nodes, in scene units. Null: by a rule of thumb.
  std::shared_ptr<const std::vector<float>> bends;
  size_t shown = 0;
  QRectF bounds;                       // of the graph, in scene units
  QColor positive, negative, neutral, surface;
  int without = -1;                    // a node whose edges are left out while it is dragged
};

struct Curve {
  QPointF a, c1, c2, b;
  QRectF box() const;                  // of the control points: holds the curve
  QPointF at(double t) const;
};
Curve edgeCurve(const EdgeScene& scene, size_t record);
// Bends with which the edges run behind as few nodes as may be. Null for graphs that are too large to be read that closely.
std::shared_ptr<const std::vector<float>> bendsRoundNodes(const SortedEdges& edges, const std::vector<NodePlace>& places);

// Pixels. Fewer edges may be wider: `shown` is their number, `scale` pixels a scene unit.
double edgeWidth(double strength, size_t shown, double scale);
// 0…1: how much of the edge's colour there is, the rest being the surface. Never alpha: to blend thousands of lines costs ten
// times what it costs to set their pixels, and the strong ones, drawn last, stay clear of the haze of the weak.
double edgePresence(double strength, size_t shown);

enum class EdgeQuality {
  kPreview,                            // not antialiased, hair lines, batched by colour: for a frame that must be now
  kCrisp,                              // antialiased curves
};

struct EdgeBrush {
  EdgeQuality quality = EdgeQuality::kCrisp;
  double presence = 1;                 // times each edge's own
  double widen = 0;                    // pixels more
  QRectF clip;                         // after toDevice; empty: all
  const std::atomic<bool>* cancelled = nullptr;
};
// Draws records [first, last), the strongest last and so on top. `toDevice` takes scene to what the painter's own transform
// starts from: widths stay as they are at any zoom. False when cancelled.
bool paintEdges(QPainter& painter, const EdgeScene& scene, size_t first, size_t last, const QTransform& toDevice,
                const EdgeBrush& brush);
// Of these records only, in the order given.
void paintEdges(QPainter& painter, const EdgeScene& scene, const std::vector<int>& records, const QTransform& toDevice,
                const EdgeBrush& brush);

// The shown record within `reach` scene units of a point, the nearest; -1: none.
int nearestEdge(const EdgeScene& scene, const QPointF& point, double reach);

}  // namespace microtome::desktop
