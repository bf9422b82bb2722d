// Where the parts of TokenMapView lie and how they are drawn.
#include <QFontMetricsF>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map_paint.h"
#include "app/desktop/views/map_axis.h"
#include "app/desktop/views/map_text.h"
#include "app/desktop/views/token_map_impl.h"

namespace microtome::desktop {
namespace {

constexpr double kCellLeast = 48, kCellScrolled = 56, kCellMost = 112;
constexpr double kCellTall = 34, kCellPad = 5, kBarGap = 16;
constexpr int64_t kPictureCols = 64;  // a wider table is saved as far as it is seen

QFont wordFont() { return monoFont(-1); }

// A frame that is seen over any colour: between thin lines of the surface's colour.
void frameOver(QPainter& painter, const QRectF& rect, const QColor& colour, double width, const Theme& theme) {
  painter.setBrush(Qt::NoBrush);
  painter.setPen(QPen(theme.surface, width + 2, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
  painter.drawRect(rect);
  painter.setPen(QPen(colour, width, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
  painter.drawRect(rect);
}

}  // namespace

void TokenMapView::Impl::measureTexts() {
  // The selected row's label is bold.
  QFont font = tickFont(self->font(), data.rowAxis.tokens);
  font.setBold(true);
  labelWidth = widestLabel(data.rowAxis, data.rows, font);
}

double TokenMapView::Impl::barWidth() const {
  const TokenQuantity* q = quantity();
  if (!q || !bar) return 0;
  return colourBarWidth({q->look, self->scale().first, self->scale().second, q->name, true, missing}, self->font());
}

double TokenMapView::Impl::leftWidth(double width) const {
  const double strip = data.rowAxis.kinds.empty() ? 0 : kKindStrip + 4;
  const QFontMetricsF metrics(tickFont(self->font(), false));
  const double name = metrics.horizontalAdvance(data.rowAxis.name.left(24));
  return kGrid + std::min(std::max(labelWidth, name), width * 0.3) + kLabelGap + strip;
}

double TokenMapView::Impl::headerHeight() const { return std::ceil(QFontMetricsF(wordFont()).height()) + kGrid; }

std::pair<double, double> TokenMapView::Impl::cellSize(const QSizeF& room) const {
  const double least = std::ceil(QFontMetricsF(wordFont()).height()) + 4;
  const double cols = static_cast<double>(data.cols), rows = static_cast<double>(data.rows);
  double width = room.width() / cols;
  // Where it must scroll anyway, more of a word is read; the same width in every table, so that two can scroll
  // together.
  if (width < kCellLeast) width = kCellScrolled;
  return {std::floor(std::min(width, kCellMost)),
          std::floor(std::clamp(room.height() / rows, least, std::max(least, kCellTall)))};
}

void TokenMapView::Impl::layOut() {
  const double left = leftWidth(self->width()), top = headerHeight() + kGrid / 2;
  const double bar = has ? barWidth() : 0;
  QSizeF room(self->width() - left - kGrid - (bar > 0 ? bar + kBarGap : 0), self->height() - top - kGrid);
  if (!has || room.width() < kCellLeast || room.height() < 1) {
    across->hide();
    down->hide();
    return;
  }
  // Each bar takes room from the other; two rounds settle it.
  const int thick = across->sizeHint().height();
  bool wide = false, tall = false;
  QSizeF seen = room;
  std::pair<double, double> cell;
  for (int round = 0; round < 2; ++round) {
    seen = room - QSizeF(tall ? thick : 0, wide ? thick : 0);
    cell = cellSize(seen);
    wide = cell.first * static_cast<double>(data.cols) > seen.width() + 0.5;
    tall = cell.second * static_cast<double>(data.rows) > seen.height() + 0.5;
  }
  seen = room - QSizeF(tall ? thick : 0, wide ? thick : 0);
  const auto set = [](QScrollBar* s, bool on, double whole, double page, double step) {
    s->setRange(0, on ? static_cast<int>(std::min(1e9, std::ceil(whole - page))) : 0);
    s->setPageStep(std::max(1, static_cast<int>(page)));
    s->setSingleStep(std::max(1, static_cast<int>(step)));
    s->setVisible(on);
  };
  set(across, wide, cell.first * static_cast<double>(data.cols), seen.width(), cell.first);
  set(down, tall, cell.second * static_cast<double>(data.rows), seen.height(), cell.second);
  const TokenMapPlaces p = placesNow();
  across->setGeometry(static_cast<int>(p.plot.left()), static_cast<int>(p.plot.bottom()) + 2,
                      static_cast<int>(p.plot.width()), thick);
  down->setGeometry(static_cast<int>(p.plot.right()) + 2, static_cast<int>(p.plot.top()), thick,
                    static_cast<int>(p.plot.height()));
}

TokenMapPlaces TokenMapView::Impl::placesNow() const {
  TokenMapPlaces p;
  if (!has) return p;
  const double left = leftWidth(self->width()), top = headerHeight() + kGrid / 2, bar = barWidth();
  const int thick = across->sizeHint().height();
  const bool wide = across->isVisibleTo(self), tall = down->isVisibleTo(self);
  const QSizeF room(std::max(1.0, self->width() - left - kGrid - (bar > 0 ? bar + kBarGap : 0) - (tall ? thick : 0)),
                    std::max(1.0, self->height() - top - kGrid - (wide ? thick : 0)));
  std::tie(p.cellWidth, p.cellHeight) = cellSize(room);
  const double width = std::min(room.width(), p.cellWidth * static_cast<double>(data.cols)),
               height = std::min(room.height(), p.cellHeight * static_cast<double>(data.rows));
  p.plot = QRectF(std::floor(left), std::floor(top), std::floor(width), std::floor(height));
  p.x0 = p.plot.left() - (wide ? across->value() : 0);
  p.y0 = p.plot.top() - (tall ? down->value() : 0);
  p.firstCol = std::max<int64_t>(0, static_cast<int64_t>((p.plot.left() - p.x0) / p.cellWidth));
  p.endCol = std::min(data.cols, static_cast<int64_t>((p.plot.right() - p.x0) / p.cellWidth) + 1);
  p.header = QRectF(p.plot.left(), p.plot.top() - headerHeight(), p.plot.width(), headerHeight());
  const bool strip = !data.rowAxis.kinds.empty();
  if (strip) p.strip = QRectF(p.plot.left() - kKindStrip - 3, p.plot.top(), kKindStrip, p.plot.height());
  p.rowLabels =
      QRectF(kGrid, p.plot.top(), (strip ? p.strip.left() : p.plot.left()) - kLabelGap - kGrid, p.plot.height());
  if (bar > 0)
    p.bar = QRectF(p.plot.right() + kBarGap + (tall ? thick : 0), p.plot.top(), bar,
                   std::min(std::max(p.plot.height(), 12.0 * kGrid), std::max(1.0, self->height() - top - kGrid)));
  return p;
}

QSize TokenMapView::sizeHint() const {
  const Impl& d = *impl_;
  if (!d.has) return {60 * kGrid, 30 * kGrid};
  const double width =
      std::min(static_cast<double>(d.data.cols) * kCellScrolled, 1000.0) + d.leftWidth(1000) + d.barWidth() + 3 * kGrid;
  const double rows = std::min(static_cast<double>(d.data.rows) * kCellTall, 1000.0);
  return {static_cast<int>(width),
          static_cast<int>(std::max(rows, d.bar ? 12.0 * kGrid : 0) + d.headerHeight() + 2 * kGrid) +
              d.across->sizeHint().height()};
}

QSizeF TokenMapView::pictureSize() const {
  const Impl& d = *impl_;
  if (!d.has) return QSizeF(size()).expandedTo(QSizeF(320, 160));
  const TokenMapPlaces now = d.placesNow();
  const int64_t cols = d.data.cols <= kPictureCols ? d.data.cols : now.endCol - now.firstCol;
  const double bar = d.barWidth();
  return QSizeF(std::ceil(d.leftWidth(width()) + static_cast<double>(cols) * now.cellWidth +
                          (bar > 0 ? kBarGap + bar : 0) + kGrid),
                std::ceil(d.headerHeight() + kGrid * 1.5 +
                          std::max(std::min(static_cast<double>(d.data.rows) * now.cellHeight, 20000.0),
                                   bar > 0 ? 12.0 * kGrid : 0)));
}

TokenMapPlaces TokenMapView::Impl::placesIn(const QSizeF& size) const {
  TokenMapPlaces p;
  if (!has) {
    p.plot = QRectF(QPointF(), size);
    return p;
  }
  const TokenMapPlaces now = placesNow();
  const bool all = data.cols <= kPictureCols;
  p.firstCol = all ? 0 : now.firstCol;
  p.endCol = all ? data.cols : now.endCol;
  const double left = leftWidth(self->width()), top = headerHeight() + kGrid / 2, bar = barWidth();
  const double cols = static_cast<double>(std::max<int64_t>(1, p.endCol - p.firstCol));
  p.cellWidth = std::max(1.0, (size.width() - left - kGrid - (bar > 0 ? kBarGap + bar : 0)) / cols);
  p.cellHeight = std::clamp((size.height() - top - kGrid) / static_cast<double>(data.rows), 1.0, kCellTall);
  p.plot = QRectF(left, top, p.cellWidth * cols, p.cellHeight * static_cast<double>(data.rows));
  p.x0 = p.plot.left() - static_cast<double>(p.firstCol) * p.cellWidth;
  p.y0 = p.plot.top();
  p.header = QRectF(p.plot.left(), p.plot.top() - headerHeight(), p.plot.width(), headerHeight());
  const bool strip = !data.rowAxis.kinds.empty();
  if (strip) p.strip = QRectF(p.plot.left() - kKindStrip - 3, p.plot.top(), kKindStrip, p.plot.height());
  p.rowLabels =
      QRectF(kGrid, p.plot.top(), (strip ? p.strip.left() : p.plot.left()) - kLabelGap - kGrid, p.plot.height());
  if (bar > 0) p.bar = QRectF(p.plot.right() + kBarGap, p.plot.top(), bar, std::max(p.plot.height(), 10.0 * kGrid));
  return p;
}

void TokenMapView::Impl::paint(QPainter& painter, const TokenMapPlaces& p, bool live) const {
  const Theme& theme = Theme::of(self);
  if (!has) {
    paintEmptyText(painter, live ? QRectF(self->rect()) : p.plot, emptyText, theme);
    return;
  }
  const TokenQuantity* q = quantity();
  const auto [lo, hi] = self->scale();
  const QFont font = wordFont();
  const QFontMetricsF metrics(font);
  const Theme& ink = Theme::light();
  const int64_t firstRow = std::max<int64_t>(0, static_cast<int64_t>((p.plot.top() - p.y0) / p.cellHeight));
  const int64_t endRow = std::min(data.rows, static_cast<int64_t>(std::ceil((p.plot.bottom() - p.y0) / p.cellHeight)));
  painter.save();
  painter.setClipRect(p.plot);
  painter.setRenderHint(QPainter::Antialiasing, false);
  painter.setFont(font);
  for (int64_t r = firstRow; r < endRow; ++r) {
    for (int64_t c = p.firstCol; c < p.endCol; ++c) {
      const QRectF cell = p.cell(r, c).adjusted(0, 0, -1, -1);
      const double v = level(r, c);
      QColor pen = theme.text;
      if (!q) {
        painter.fillRect(cell, theme.raised);
      } else if (std::isnan(v)) {
        paintHatched(painter, cell, theme);
        pen = theme.muted;
      } else {
        const QRgb fill = colourOf(q->look, colourLevel(v, lo, hi), theme.dark);
        painter.fillRect(cell, QColor(fill));
        pen = isLight(fill) ? ink.text : ink.surface;
      }
      const QString* w = word(r, c);
      if (!w) continue;
      const QRectF room = cell.adjusted(kCellPad, 0, -kCellPad + 2, 0);
      const bool whole = metrics.horizontalAdvance(*w) <= room.width();
      painter.setPen(pen);
      painter.drawText(room, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
                       whole ? *w : metrics.elidedText(*w, Qt::ElideRight, room.width()));
    }
  }
  painter.restore();

  painter.save();
  painter.setRenderHint(QPainter::Antialiasing, false);
  painter.setBrush(Qt::NoBrush);
  if (live && self->hasFocus()) {
    painter.setPen(QPen(theme.accent, 1));
    painter.drawRect(p.plot.adjusted(-1, -1, 0, 0));
  }
  painter.setClipRect(p.plot.adjusted(-3, -3, 3, 3));
  const auto frame = [&](int64_t r, int64_t c, const QColor& colour, double width) {
    const QRectF part = p.cell(r, c).adjusted(0, 0, -1, -1).intersected(p.plot);
    if (!part.isEmpty()) frameOver(painter, part, colour, width, theme);
  };
  if (inside(row, col)) frame(row, col, theme.highlight, 2);
  if (live && inside(hoverRow, hoverCol)) frame(hoverRow, hoverCol, theme.text, 1);
  painter.restore();
  paintHeaders(painter, p);

  if (!q || p.bar.isEmpty()) return;
  ColourBar bar{q->look, lo,
                hi,      q->logarithmic ? tr("log₁₀(1 + %1)").arg(q->name) : labelWithUnit(q->name, q->unit),
                true,    missing};
  if (live && inside(hoverRow, hoverCol)) bar.marked = level(hoverRow, hoverCol);
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing);
  paintColourBar(painter, p.bar, bar, self->font(), theme);
  painter.restore();
}

void TokenMapView::Impl::paintHeaders(QPainter& painter, const TokenMapPlaces& p) const {
  const Theme& theme = Theme::of(self);
  const int64_t markedRow = hoverRow >= 0 ? hoverRow : row, markedCol = hoverCol >= 0 ? hoverCol : col;
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing);
  // The text above the columns: a token is cut where its column ends.
  const bool tokens = data.colAxis.tokens && hasLabels(data.colAxis, data.cols);
  QFont plain = tokens ? wordFont() : tickFont(self->font(), false), bold = plain;
  bold.setBold(true);
  painter.setClipRect(p.header.adjusted(0, 0, 1, 0));
  for (int64_t c = p.firstCol; c < p.endCol; ++c) {
    const QRectF room(p.x0 + static_cast<double>(c) * p.cellWidth, p.header.top(), p.cellWidth - 1, p.header.height());
    if (c == col) {
      painter.setPen(Qt::NoPen);
      painter.setBrush(theme.raised);
      painter.drawRoundedRect(room.adjusted(0, 1, 0, -2), 3, 3);
    }
    const QFont& font = c == col ? bold : plain;
    painter.setFont(font);
    painter.setPen(c == markedCol || c == col ? theme.text : theme.muted);
    painter.drawText(room.adjusted(kCellPad, 0, -2, 0), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
                     QFontMetricsF(font).elidedText(axisLabel(data.colAxis, data.cols, c), Qt::ElideRight,
                                                    room.width() - kCellPad - 2));
  }
  painter.setClipping(false);
  if (!data.rowAxis.name.isEmpty()) {
    const QFont small = tickFont(self->font(), false);
    painter.setFont(small);
    painter.setPen(theme.muted);
    painter.drawText(QRectF(p.rowLabels.left(), p.header.top(), p.rowLabels.width(), p.header.height()),
                     Qt::AlignRight | Qt::AlignVCenter | Qt::TextSingleLine,
                     QFontMetricsF(small).elidedText(data.rowAxis.name.left(64), Qt::ElideRight, p.rowLabels.width()));
  }
  painter.setClipRect(QRectF(0, p.plot.top(), p.plot.left(), p.plot.height()));
  AxisPaint rows;
  rows.axis = &data.rowAxis;
  rows.count = data.rows;
  rows.origin = p.y0;
  rows.pitch = rows.shown = p.cellHeight;
  rows.from = p.plot.top();
  rows.to = p.plot.bottom();
  rows.labels = p.rowLabels;
  rows.strip = p.strip;
  rows.font = rows.nameFont = tickFont(self->font(), data.rowAxis.tokens);
  rows.hovered = markedRow == row ? -1 : markedRow;
  rows.chosen = {row};
  paintAxis(painter, rows, theme);
  painter.restore();
}

}  // namespace microtome::desktop
