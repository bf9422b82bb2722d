// heat_map_impl.h — state of HeatMapView, private to heat_map*.cc.
#pragma once

#include <QImage>
#include <QPointF>
#include <atomic>

#include "app/desktop/views/cell_image.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/heat_map_paint.h"

namespace microtome::desktop {

struct HeatMapView::Impl {
  enum class ScaleChoice { kAutomatic, kSymmetric, kUnit };
  enum class Drag { kNone, kPress, kPan, kBrush };

  explicit Impl(HeatMapView* view) : self(view) {}
  ~Impl() { stopWork(); }

  HeatMapView* self;
  HeatMapData data;
  CellGrid grid;
  bool has = false;
  QString emptyText;
  bool bar = true;

  QRectF visible;
  int64_t hoverRow = -1, hoverCol = -1, row = -1, col = -1, brush = -1;
  bool brushLast = false;              // arrows move the brush rather than the cell
  QString hoverSaid;

  ScaleChoice choice = ScaleChoice::kAutomatic;
  double givenLo = 0, givenHi = 0;     // lo < hi: given
  double autoLo = 0, autoHi = 1;
  bool autoKnown = false, missing = false;

  std::shared_ptr<const CellPyramid> pyramid;
  std::shared_ptr<std::atomic<bool>> stop;  // of the work under way; null: none
  bool stale = false;                  // values changed while it ran
  uint64_t serial = 1;                 // changes with the values and the pyramid

  mutable MapMeasures measures;
  mutable QFont measuredFont;
  mutable bool measured = false;

  Drag drag = Drag::kNone;
  QPointF pressAt, lastAt;
  bool unbrush = false;                // a click on the brushed row takes the brush away

  // The cells of the last frame; hovering repaints without reading them again.
  struct Frame {
    QImage image;
    QRectF visible;
    QSize pixels;
    double lo = 0, hi = 0;
    bool dark = false;
    uint64_t serial = 0;
  } frame;

  std::pair<double, double> scale() const;
  void absorb(const Extent& extent);
  // Scale and pyramid for new values: at once for small maps, else a coarse scale now and the rest by a worker.
  void measureValues(bool fresh);
  void startWork();
  void stopWork();
  static void workDone(HeatMapView* view, const std::shared_ptr<std::atomic<bool>>& ticket,
                       const std::shared_ptr<const CellPyramid>& made);

  MapScene scene() const;
  MapPlaces places(const MapScene& scene, const QSizeF& size) const;
  MapPlaces placesNow() const;
  void setVisible(QRectF cells);
  void zoom(double factorX, double factorY, const QPointF& at);
  // Cell below a point of the widget; false beside the plot or where no cell exists.
  bool cellAt(const MapPlaces& places, const QPointF& at, int64_t* row, int64_t* col) const;
  int64_t rowAt(const MapPlaces& places, double y) const;
  bool onRowAxis(const MapPlaces& places, const QPointF& at) const;
  void hover(int64_t row, int64_t col, const QString& said);
  void hoverAt(const QPointF& at);
  void select(int64_t row, int64_t col, bool tell);
  void brushRow(int64_t row, bool tell);
  void ensureSeen(int64_t row, int64_t col);
  void moveBy(int rows, int cols);
};

}  // namespace microtome::desktop
