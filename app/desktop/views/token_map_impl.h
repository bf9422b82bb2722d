// token_map_impl.h — state of TokenMapView, private to token_map*.cc.
#pragma once

#include <QFont>
#include <QRectF>
#include <QScrollBar>

#include "app/desktop/views/token_map.h"

namespace microtome::desktop {

// Where the parts of a table lie.
struct TokenMapPlaces {
  QRectF plot;              // the cells that are seen
  QRectF rowLabels, strip;  // left of it: names of the rows, marks of their layers' kinds
  QRectF header;            // above it
  QRectF bar;               // the colour bar with its texts; empty: none
  double cellWidth = 1, cellHeight = 1;
  double x0 = 0, y0 = 0;             // where cell 0, 0 begins
  int64_t firstCol = 0, endCol = 0;  // what is drawn
  QRectF cell(int64_t row, int64_t col) const {
    return QRectF(x0 + static_cast<double>(col) * cellWidth, y0 + static_cast<double>(row) * cellHeight, cellWidth,
                  cellHeight);
  }
};

struct TokenMapView::Impl {
  explicit Impl(TokenMapView* view) : self(view) {}

  TokenMapView* self;
  TokenMapData data;
  bool has = false, bar = true;
  std::vector<QString> shown;  // words as they are drawn, cut where no cell could hold them
  QString emptyText;
  double givenLo = 0, givenHi = 0;  // lo < hi: shared with other maps
  double ownLo = 0, ownHi = 1;
  bool missing = false;  // some cell has no value
  int64_t row = -1, col = -1, hoverRow = -1, hoverCol = -1;
  QScrollBar *across = nullptr, *down = nullptr;
  double labelWidth = 0;  // measured once a text and font

  const TokenQuantity* quantity() const {
    const auto n = static_cast<int>(data.quantities.size());
    return data.colour >= 0 && data.colour < n ? &data.quantities[static_cast<size_t>(data.colour)] : nullptr;
  }
  size_t index(int64_t r, int64_t c) const { return static_cast<size_t>(r * data.cols + c); }
  bool inside(int64_t r, int64_t c) const { return has && r >= 0 && c >= 0 && r < data.rows && c < data.cols; }
  const QString* word(int64_t r, int64_t c) const {
    const int32_t at = (*data.cells)[index(r, c)];
    return at >= 0 && at < static_cast<int32_t>(data.words.size()) ? &shown[static_cast<size_t>(at)] : nullptr;
  }
  // A cell's number as it is coloured.
  double level(int64_t r, int64_t c) const;
  void measureValues();
  void measureTexts();
  // In the widget, at what is scrolled to.
  TokenMapPlaces placesNow() const;
  // The table whole (or the columns in sight of a very wide one) in `size`.
  TokenMapPlaces placesIn(const QSizeF& size) const;
  double barWidth() const;
  double leftWidth(double width) const;
  double headerHeight() const;
  std::pair<double, double> cellSize(const QSizeF& room) const;
  void layOut();  // scroll bars
  void paint(QPainter& painter, const TokenMapPlaces& places, bool live) const;
  void paintHeaders(QPainter& painter, const TokenMapPlaces& places) const;
  bool cellAt(const QPointF& at, int64_t* r, int64_t* c) const;
  QString place(int64_t r, int64_t c) const;
  QString phrase(int64_t r, int64_t c) const;   // one line, for the status bar
  QString details(int64_t r, int64_t c) const;  // a table with definitions, as markup
  void hover(int64_t r, int64_t c);
  void select(int64_t r, int64_t c, bool tell);
  void ensureSeen(int64_t r, int64_t c);
};

}  // namespace microtome::desktop
