// heat_map_paint.h — where the parts of a heat map lie and how they are drawn, for the window and for saved pictures alike.
// The widget's behaviour is in heat_map.cc, the pixels of the cells in cell_image.h.
#pragma once

#include <QFont>
#include <QPainter>
#include <QRectF>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/cell_image.h"
#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

// A colour bar: vertical, numbers at its right, what they are along it.
struct ColourBar {
  Look look = Look::kSequential;
  double lo = 0, hi = 1;
  QString label;                       // with the unit; empty: none
  bool numbers = true;                 // off: maps of different scales share the bar
  bool missing = false;                // a hatched swatch below says what hatching means
  double marked = std::numeric_limits<double>::quiet_NaN();  // the value below the mouse
};
// Width of the bar with all its texts.
double colourBarWidth(const ColourBar& bar, const QFont& font);
void paintColourBar(QPainter& painter, const QRectF& place, const ColourBar& bar, const QFont& font, const Theme& theme);
// Diagonal lines on the surface: "no value". Drawn as lines, so that it stays a vector and needs no clipping.
void paintHatched(QPainter& painter, const QRectF& rect, const Theme& theme);
// Calm text in the middle, what to do next.
void paintEmptyText(QPainter& painter, const QRectF& rect, const QString& text, const Theme& theme);

// What is to be drawn.
struct MapScene {
  const HeatMapData* data = nullptr;   // valid (CellGrid::valid)
  QRectF visible;                      // in cells
  double lo = 0, hi = 1;
  bool bar = true, missing = false, focus = false;
  int64_t hoverRow = -1, hoverCol = -1, row = -1, col = -1, brush = -1;
  QFont font;
  const Theme* theme = nullptr;
};

// Widths that depend on the data and the font alone; measured once.
struct MapMeasures {
  double rowLabels = 0, colLabels = 0;
};
MapMeasures measureMap(const HeatMapData& data, const QFont& font);

struct MapPlaces {
  QRectF plot;                         // the cells
  QRectF rowAxis, colAxis;             // labels and kind marks: left of and below the plot
  QRectF bar;                          // the colour bar with its texts; empty: none
  QRectF used;                         // all of the picture
  bool upright = false;                // column labels are turned by 90°
  double cellWidth = 1, cellHeight = 1;

  double x(double col) const { return plot.left() + (col - left) * cellWidth; }
  double y(double row) const { return plot.top() + (row - top) * cellHeight; }
  double left = 0, top = 0;            // of the visible cells
};
MapPlaces placeMap(const MapScene& scene, const MapMeasures& measures, const QSizeF& size);

// Everything but the cells: values in them, outlines, axes, the bar.
void paintMapParts(QPainter& painter, const MapScene& scene, const MapPlaces& places);
// The cells as rectangles, for vector pictures of small maps.
void paintCellRects(QPainter& painter, const MapScene& scene, const MapPlaces& places);

}  // namespace microtome::desktop
