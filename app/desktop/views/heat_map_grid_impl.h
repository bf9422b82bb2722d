// heat_map_grid_impl.h — state of HeatMapGridView, private to heat_map_grid*.cc.
#pragma once

#include <QImage>
#include <array>
#include <atomic>
#include <optional>

#include "app/desktop/views/cell_image.h"
#include "app/desktop/views/heat_map_grid.h"
#include "app/desktop/views/heat_map_paint.h"

namespace microtome::desktop {

// One map of the grid.
struct GridMap {
  CellGrid grid;
  std::shared_ptr<const CellPyramid> pyramid;          // of large maps
  Extent extent;
  QImage image;                                        // at the size of the last frame
  bool fresh = false;                                  // the image fits size, theme and scale
};

constexpr int kGridLooks = 3;

struct GridPlaces {
  double pitchX = 0, pitchY = 0, width = 0, height = 0;  // of a map with its gap; of a map
  QRectF field;                                        // all maps
  QRectF rowAxis, colAxis, bars, used;
};

struct HeatMapGridView::Impl {
  explicit Impl(HeatMapGridView* view) : self(view) {}
  ~Impl() { stopWork(); }

  HeatMapGridView* self;
  HeatMapGridData data;
  std::vector<GridMap> maps;
  bool has = false, measured = false;
  std::array<std::optional<std::pair<double, double>>, kGridLooks> common;   // scale of each look there is
  bool missing = false;
  QString emptyText = HeatMapGridView::tr("Nothing to show yet.");
  int64_t row = -1, col = -1, hoverRow = -1, hoverCol = -1;
  std::shared_ptr<std::atomic<bool>> stop;
  QSize imageSize;                                     // device pixels
  bool imageDark = false;

  GridMap* at(int64_t r, int64_t c) {
    if (r < 0 || c < 0 || r >= data.rows || c >= data.cols) return nullptr;
    GridMap& one = maps[static_cast<size_t>(r * data.cols + c)];
    return one.grid.valid() ? &one : nullptr;
  }
  const HeatMapData& mapAt(int64_t r, int64_t c) const { return data.maps[static_cast<size_t>(r * data.cols + c)]; }

  void stopWork() {
    if (stop) *stop = true;
    stop.reset();
  }
  void measure();
  void measuredAll();
  std::pair<double, double> scaleOfMap(const GridMap& one, const HeatMapData& map) const;
  std::vector<ColourBar> bars() const;
  GridPlaces places(const QSizeF& size) const;
  QRectF mapRect(const GridPlaces& p, int64_t r, int64_t c) const {
    return QRectF(p.field.left() + static_cast<double>(c) * p.pitchX, p.field.top() + static_cast<double>(r) * p.pitchY,
                  p.width, p.height);
  }
  bool hit(const QPointF& at, int64_t* r, int64_t* c);
  QString phrase(int64_t r, int64_t c);
  void hover(int64_t r, int64_t c);
  void pick(int64_t r, int64_t c);
  void step(int rows, int cols);
  void paint(QPainter& painter, const QSizeF& size, bool picture);
};

}  // namespace microtome::desktop
