#include "app/desktop/views/heat_map_paint.h"

#include <QFontMetricsF>
#include <QLinearGradient>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/map_axis.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

constexpr double kBarStrip = 12, kBarGap = 16, kTick = 4;
constexpr double kCellMost = 120, kCellTall = 72;  // cells of a small map do not grow without end
constexpr double kTextCell = 44;                   // narrowest cell with its value written in it

std::vector<double> barTicks(const ColourBar& bar, double height, double lineHeight) {
  if (!bar.numbers) return {};
  std::vector<double> ticks = niceTicks(bar.lo, bar.hi, std::clamp(static_cast<int>(height / (lineHeight * 2)), 2, 7));
  // A lone tick says nothing of the scale.
  if (ticks.size() < 2)
    ticks = bar.lo < 0 && bar.hi > 0 ? std::vector{bar.lo, 0.0, bar.hi} : std::vector{bar.lo, bar.hi};
  return ticks;
}

double tickWidth(const ColourBar& bar, const QFontMetricsF& metrics) {
  double width = metrics.horizontalAdvance(QStringLiteral("0.00"));
  for (double height : {60.0, 120.0, 400.0})
    for (double v : barTicks(bar, height, metrics.height()))
      width = std::max(width, metrics.horizontalAdvance(numberText(v, 3)));
  return std::ceil(width);
}

// Squares for what has the same kind of axis twice; else cells fill the room.
bool squareCells(const HeatMapData& d) {
  const double ratio = static_cast<double>(std::max(d.rows, d.cols)) / static_cast<double>(std::min(d.rows, d.cols));
  if (ratio > 4) return false;
  if (d.causal || d.look == Look::kPattern || (d.rowAxis.tokens && d.colAxis.tokens)) return true;
  return std::min(d.rows, d.cols) > 24 && ratio <= 2;
}

QRectF cellRect(const MapPlaces& p, int64_t row, int64_t col) {
  return QRectF(QPointF(p.x(static_cast<double>(col)), p.y(static_cast<double>(row))),
                QPointF(p.x(static_cast<double>(col + 1)), p.y(static_cast<double>(row + 1))));
}

// First and one past the last cell that is seen, in x and y.
QRect seenCells(const MapScene& s) {
  const QRectF& v = s.visible;
  const QPoint from(static_cast<int>(std::floor(v.left())), static_cast<int>(std::floor(v.top())));
  const int right = static_cast<int>(std::min<double>(static_cast<double>(s.data->cols), std::ceil(v.right() - 1e-9)));
  const int bottom =
      static_cast<int>(std::min<double>(static_cast<double>(s.data->rows), std::ceil(v.bottom() - 1e-9)));
  return QRect(from, QSize(right - from.x(), bottom - from.y()));
}

bool exists(const HeatMapData& d, int64_t row, int64_t col) { return !d.causal || col <= row; }

void paintValues(QPainter& painter, const MapScene& s, const MapPlaces& p) {
  if (p.cellWidth < kTextCell || p.cellHeight < kGrid * 2) return;
  QFont font = tickFont(s.font, false);
  const QFontMetricsF metrics(font);
  if (p.cellHeight < metrics.height()) return;
  painter.setFont(font);
  const double most = std::max(std::abs(s.lo), std::abs(s.hi));
  const Theme& ink = Theme::light();
  const QRect seen = seenCells(s);
  for (int64_t r = seen.top(); r <= seen.bottom(); ++r) {
    for (int64_t c = seen.left(); c <= seen.right(); ++c) {
      const float v = (*s.data->values)[static_cast<size_t>(r * s.data->cols + c)];
      if (v != v || !exists(*s.data, r, c)) continue;
      const QRectF cell = cellRect(p, r, c);
      // Only whole cells: half a number is a wrong number.
      if (!p.plot.adjusted(-1, -1, 1, 1).contains(cell)) continue;
      QString text = cellNumber(v, most);
      if (metrics.horizontalAdvance(text) > cell.width() - 6) text = numberText(v, 2);
      if (metrics.horizontalAdvance(text) > cell.width() - 6) continue;
      const bool light = isLight(colourOf(s.data->look, colourLevel(v, s.lo, s.hi), s.theme->dark));
      painter.setPen(light ? ink.text : ink.surface);
      painter.drawText(cell, Qt::AlignCenter | Qt::TextSingleLine, text);
    }
  }
}

// A frame that is seen over any colour: inside a thin line of the surface's colour.
void frameOver(QPainter& painter, const QRectF& rect, const QColor& colour, double width, const Theme& theme) {
  painter.setBrush(Qt::NoBrush);
  painter.setPen(QPen(theme.surface, width + 2, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
  painter.drawRect(rect);
  painter.setPen(QPen(colour, width, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
  painter.drawRect(rect);
}

void paintMarks(QPainter& painter, const MapScene& s, const MapPlaces& p) {
  const Theme& theme = *s.theme;
  const HeatMapData& d = *s.data;
  const auto seenPart = [&](QRectF rect) {
    // At least so large that it can be seen.
    if (rect.height() < 3) rect = QRectF(rect.left(), rect.center().y() - 1.5, rect.width(), 3);
    if (rect.width() < 3) rect = QRectF(rect.center().x() - 1.5, rect.top(), 3, rect.height());
    return rect.intersected(p.plot.adjusted(-1, -1, 1, 1));
  };
  if (s.brush >= 0 && s.brush < d.rows) {
    const int64_t end = d.causal ? std::min(d.cols, s.brush + 1) : d.cols;
    const QRectF row = seenPart(QRectF(QPointF(p.x(0), p.y(static_cast<double>(s.brush))),
                                       QPointF(p.x(static_cast<double>(end)), p.y(static_cast<double>(s.brush + 1)))));
    if (!row.isEmpty()) frameOver(painter, row, theme.highlight, 2, theme);
  }
  if (s.row >= 0 && s.col >= 0 && s.row < d.rows && s.col < d.cols) {
    const QRectF cell = seenPart(cellRect(p, s.row, s.col));
    if (!cell.isEmpty()) frameOver(painter, cell, theme.highlight, 2, theme);
  }
  if (s.hoverRow < 0 || s.hoverCol < 0) return;
  const QRectF cell = cellRect(p, s.hoverRow, s.hoverCol);
  if (std::min(cell.width(), cell.height()) >= 6) {
    const QRectF part = seenPart(cell);
    if (!part.isEmpty()) frameOver(painter, part, theme.text, 1, theme);
    return;
  }
  // Too small to frame: lines through it.
  QColor colour = theme.text;
  colour.setAlpha(150);
  painter.setPen(QPen(colour, 1));
  const QPointF centre = cell.center();
  painter.drawLine(QPointF(p.plot.left(), centre.y()), QPointF(p.plot.right(), centre.y()));
  painter.drawLine(QPointF(centre.x(), p.plot.top()), QPointF(centre.x(), p.plot.bottom()));
}

void paintAxes(QPainter& painter, const MapScene& s, const MapPlaces& p) {
  const HeatMapData& d = *s.data;
  const double fh = QFontMetricsF(tickFont(s.font, false)).height();
  AxisPaint rows;
  rows.axis = &d.rowAxis;
  rows.count = d.rows;
  rows.origin = p.y(0);
  rows.pitch = rows.shown = p.cellHeight;
  rows.from = p.plot.top();
  rows.to = p.plot.bottom();
  rows.font = tickFont(s.font, d.rowAxis.tokens && hasLabels(d.rowAxis, d.rows));
  rows.nameFont = tickFont(s.font, false);
  rows.hovered = s.hoverRow;
  rows.chosen = {s.brush, s.row};
  QRectF area = p.rowAxis;
  if (!d.rowAxis.kinds.empty())
    rows.strip = QRectF(area.right() - kKindStrip - 2, p.plot.top(), kKindStrip, p.plot.height());
  const double nameWidth = d.rowAxis.name.isEmpty() ? 0 : fh + kLabelGap;
  if (nameWidth > 0) rows.name = QRectF(area.left(), p.plot.top(), fh, p.plot.height());
  // A short map has no height for a name along it.
  if (nameWidth > 0 && rows.name.height() < kGrid * 8)
    rows.name = QRectF(area.left(), p.plot.center().y() - kGrid * 4, fh, kGrid * 8);
  const double strip = d.rowAxis.kinds.empty() ? 0 : kKindStrip + 2;
  rows.labels =
      QRectF(area.left() + nameWidth, area.top(), area.width() - nameWidth - strip - kLabelGap, area.height());
  paintAxis(painter, rows, *s.theme);

  AxisPaint cols;
  cols.axis = &d.colAxis;
  cols.count = d.cols;
  cols.side = p.upright ? AxisPaint::Side::kBelowUpright : AxisPaint::Side::kBelow;
  cols.origin = p.x(0);
  cols.pitch = cols.shown = p.cellWidth;
  cols.from = p.plot.left();
  cols.to = p.plot.right();
  cols.font = tickFont(s.font, d.colAxis.tokens && hasLabels(d.colAxis, d.cols));
  cols.nameFont = rows.nameFont;
  cols.hovered = s.hoverCol;
  cols.chosen = {s.col};
  area = p.colAxis;
  const double below = d.colAxis.kinds.empty() ? 0 : kKindStrip + 2;
  const double nameHeight = d.colAxis.name.isEmpty() ? 0 : fh + kLabelGap / 2;
  if (below > 0) cols.strip = QRectF(p.plot.left(), area.top() + 2, p.plot.width(), kKindStrip);
  if (nameHeight > 0) {
    const double wide = std::max(p.plot.width(), 120.0);
    cols.name = QRectF(p.plot.center().x() - wide / 2, area.bottom() - fh, wide, fh);
  }
  cols.labels =
      QRectF(area.left(), area.top() + below + kLabelGap, area.width(), area.height() - below - kLabelGap - nameHeight);
  // Level labels may reach beyond the plot, but not out of the picture.
  if (!p.upright) cols.labels = QRectF(p.used.left(), cols.labels.top(), p.used.width(), cols.labels.height());
  paintAxis(painter, cols, *s.theme);
}

}  // namespace

double colourBarWidth(const ColourBar& bar, const QFont& font) {
  const QFontMetricsF metrics(tickFont(font, false));
  double width = kBarStrip + (bar.numbers ? kTick + 4 + tickWidth(bar, metrics) : 4) +
                 (bar.label.isEmpty() ? 0 : 4 + metrics.height());
  if (bar.missing) width = std::max(width, kBarStrip + 6 + metrics.horizontalAdvance(QObject::tr("no value")));
  return std::ceil(width);
}

void paintHatched(QPainter& painter, const QRectF& rect, const Theme& theme) {
  painter.fillRect(rect, theme.surface);
  painter.save();
  painter.setPen(QPen(theme.missing, 1.5));
  const double left = rect.left(), right = rect.right(), top = rect.top(), bottom = rect.bottom();
  const double first = std::ceil((left + top) / 6) * 6;
  for (double sum = first; sum < right + bottom; sum += 6) {
    // The line x + y = sum, cut to the rectangle.
    const double x0 = std::max(left, sum - bottom), x1 = std::min(right, sum - top);
    if (x1 > x0) painter.drawLine(QPointF(x0, sum - x0), QPointF(x1, sum - x1));
  }
  painter.restore();
}

void paintEmptyText(QPainter& painter, const QRectF& rect, const QString& text, const Theme& theme) {
  painter.setPen(theme.muted);
  const double width = std::min(rect.width() - 2 * kGrid, 52.0 * kGrid);
  painter.drawText(QRectF(rect.center().x() - width / 2, rect.top() + kGrid, width, rect.height() - 2 * kGrid),
                   Qt::AlignCenter | Qt::TextWordWrap, text);
}

void paintColourBar(QPainter& painter, const QRectF& place, const ColourBar& bar, const QFont& font,
                    const Theme& theme) {
  const QFont small = tickFont(font, false);
  const QFontMetricsF metrics(small);
  const double fh = metrics.height();
  painter.setFont(small);
  QRectF strip(place.left(), place.top(), kBarStrip, place.height());
  if (bar.missing) {
    const QRectF swatch(place.left(), place.bottom() - fh + (fh - kBarStrip) / 2, kBarStrip, kBarStrip);
    strip.setBottom(place.bottom() - fh - kGrid);
    paintHatched(painter, swatch, theme);
    painter.setPen(QPen(theme.faint, 1));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(swatch);
    painter.setPen(theme.muted);
    painter.drawText(QRectF(swatch.right() + 6, place.bottom() - fh, place.width(), fh),
                     Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, QObject::tr("no value"));
  }
  if (strip.height() < kGrid) return;
  QLinearGradient gradient(strip.bottomLeft(), strip.topLeft());
  constexpr int kStops = 32;
  for (int i = 0; i <= kStops; ++i)
    gradient.setColorAt(static_cast<double>(i) / kStops,
                        QColor(colourOf(bar.look, i * (kColourLevels - 1) / kStops, theme.dark)));
  painter.setPen(QPen(theme.faint, 1));
  painter.setBrush(gradient);
  painter.drawRect(strip);
  painter.setBrush(Qt::NoBrush);

  const auto yOf = [&](double v) {
    return strip.bottom() - std::clamp((v - bar.lo) / (bar.hi - bar.lo), 0.0, 1.0) * strip.height();
  };
  double right = strip.right() + 4;
  if (bar.numbers) {
    double lowest = place.bottom() + fh, widest = 0;
    for (double v : barTicks(bar, strip.height(), fh)) {
      const double y = yOf(v);
      painter.setPen(QPen(theme.muted, 1));
      painter.drawLine(QPointF(strip.right(), y), QPointF(strip.right() + kTick, y));
      const double middle = std::clamp(y, strip.top() + fh / 2 - 4, strip.bottom() - fh / 2 + 4);
      if (lowest - middle < fh - 2) continue;
      lowest = middle;
      const QString text = numberText(v, 3);
      widest = std::max(widest, metrics.horizontalAdvance(text));
      painter.drawText(QRectF(strip.right() + kTick + 4, middle - fh / 2, place.width(), fh),
                       Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, text);
    }
    right += kTick + std::ceil(widest);
  }
  if (!std::isnan(bar.marked)) {
    const double y = yOf(bar.marked);
    painter.setPen(QPen(theme.surface, 4));
    painter.drawLine(QPointF(strip.left() - 1, y), QPointF(strip.right() + 1, y));
    painter.setPen(QPen(theme.text, 2));
    painter.drawLine(QPointF(strip.left() - 2, y), QPointF(strip.right() + 2, y));
  }
  if (!bar.label.isEmpty()) {
    painter.setPen(theme.muted);
    painter.save();
    painter.translate(right + 4, strip.bottom());
    painter.rotate(-90);
    painter.drawText(QRectF(0, 0, strip.height(), fh), Qt::AlignCenter | Qt::TextSingleLine,
                     metrics.elidedText(bar.label.left(128), Qt::ElideRight, strip.height()));
    painter.restore();
  }
}

MapMeasures measureMap(const HeatMapData& d, const QFont& font) {
  return {widestLabel(d.rowAxis, d.rows, tickFont(font, d.rowAxis.tokens && hasLabels(d.rowAxis, d.rows))),
          widestLabel(d.colAxis, d.cols, tickFont(font, d.colAxis.tokens && hasLabels(d.colAxis, d.cols)))};
}

MapPlaces placeMap(const MapScene& s, const MapMeasures& measures, const QSizeF& size) {
  const HeatMapData& d = *s.data;
  MapPlaces p;
  const double fh = QFontMetricsF(tickFont(s.font, false)).height();
  const double colFh = QFontMetricsF(tickFont(s.font, d.colAxis.tokens && hasLabels(d.colAxis, d.cols))).height();
  // A very small picture is its cells alone.
  const bool axes = size.width() >= 15 * kGrid && size.height() >= 12 * kGrid;
  const bool bar = s.bar && size.width() >= 25 * kGrid && size.height() >= 10 * kGrid;
  double left = kGrid, right = kGrid, top = kGrid, bottom = kGrid;
  if (axes) {
    left += (d.rowAxis.name.isEmpty() ? 0 : fh + kLabelGap) +
            std::min(measures.rowLabels, std::min(20.0 * kGrid, size.width() * 0.3)) + kLabelGap +
            (d.rowAxis.kinds.empty() ? 0 : kKindStrip + 2);
  }
  double barWidth = 0;
  if (bar) {
    ColourBar b{d.look, s.lo, s.hi, labelWithUnit(d.label, d.unit), true, s.missing};
    barWidth = colourBarWidth(b, s.font);
    right += kBarGap + barWidth;
  }
  double wide = std::max(1.0, size.width() - left - right);
  const double cols = static_cast<double>(d.cols), rows = static_cast<double>(d.rows);
  if (axes) {
    // Names too wide for their cells stand upright; bare numbers never do, they are thinned.
    const bool named = hasLabels(d.colAxis, d.cols);
    double cell = std::min(kCellMost, wide / cols);
    if (squareCells(d)) cell = std::min({cell, kCellTall, size.height() / rows});
    p.upright = named && measures.colLabels + kGrid > cell &&
                (d.colAxis.tokens || measures.colLabels > 5 * kGrid || cell * 2 < measures.colLabels);
    bottom += kLabelGap +
              (p.upright ? std::min(measures.colLabels, std::min(14.0 * kGrid, size.height() * 0.25)) : colFh) +
              (d.colAxis.kinds.empty() ? 0 : kKindStrip + 2) + (d.colAxis.name.isEmpty() ? 0 : fh + kLabelGap / 2);
  }
  double high = std::max(1.0, size.height() - top - bottom);
  double cellWidth = std::min(kCellMost, wide / cols), cellHeight = std::min(kCellTall, high / rows);
  if (squareCells(d)) cellWidth = cellHeight = std::min(cellWidth, cellHeight);
  const double plotWidth = std::max(1.0, std::floor(cellWidth * cols)),
               plotHeight = std::max(1.0, std::floor(cellHeight * rows));
  const double barHeight = bar ? std::min(std::max(plotHeight, 15.0 * kGrid), std::max(plotHeight, high)) : 0;
  // In the middle of what room is left.
  const double dx = std::floor((wide - plotWidth) / 2), dy = std::floor((high - std::max(plotHeight, barHeight)) / 2);
  p.plot = QRectF(std::round(left + dx), std::round(top + dy), plotWidth, plotHeight);
  if (axes) {
    p.rowAxis = QRectF(p.plot.left() - left + kGrid, p.plot.top() - kGrid, left - kGrid, plotHeight + 2 * kGrid);
    p.colAxis = QRectF(p.plot.left(), p.plot.bottom(), plotWidth, bottom - kGrid);
  }
  if (bar) p.bar = QRectF(p.plot.right() + kBarGap, p.plot.top(), barWidth, barHeight);
  p.used = QRectF(p.plot.left() - left, p.plot.top() - top, left + plotWidth + right,
                  std::max(top + plotHeight + bottom, top + barHeight + kGrid));
  p.cellWidth = plotWidth / s.visible.width();
  p.cellHeight = plotHeight / s.visible.height();
  p.left = s.visible.left();
  p.top = s.visible.top();
  return p;
}

void paintMapParts(QPainter& painter, const MapScene& s, const MapPlaces& p) {
  const Theme& theme = *s.theme;
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing, false);
  paintValues(painter, s, p);
  painter.setBrush(Qt::NoBrush);
  painter.setPen(QPen(s.focus ? theme.accent : theme.faint, 1));
  painter.drawRect(p.plot.adjusted(-1, -1, 0, 0));
  paintMarks(painter, s, p);
  painter.setRenderHint(QPainter::Antialiasing, true);
  if (!p.rowAxis.isEmpty()) paintAxes(painter, s, p);
  if (!p.bar.isEmpty()) {
    ColourBar bar{s.data->look, s.lo, s.hi, labelWithUnit(s.data->label, s.data->unit), true, s.missing};
    if (s.hoverRow >= 0 && s.hoverCol >= 0)
      bar.marked = (*s.data->values)[static_cast<size_t>(s.hoverRow * s.data->cols + s.hoverCol)];
    paintColourBar(painter, p.bar, bar, s.font, theme);
  }
  painter.restore();
}

void paintCellRects(QPainter& painter, const MapScene& s, const MapPlaces& p) {
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing, false);
  const QRect seen = seenCells(s);
  for (int64_t r = seen.top(); r <= seen.bottom(); ++r) {
    for (int64_t c = seen.left(); c <= seen.right(); ++c) {
      if (!exists(*s.data, r, c)) continue;
      QRectF cell = cellRect(p, r, c);
      // A hair over the next cell, or viewers show seams between them; what is drawn later covers it.
      if (exists(*s.data, r, c + 1)) cell.setRight(cell.right() + 0.4);
      if (r + 1 < s.data->rows) cell.setBottom(cell.bottom() + 0.4);
      cell = cell.intersected(p.plot);
      if (cell.isEmpty()) continue;
      const float v = (*s.data->values)[static_cast<size_t>(r * s.data->cols + c)];
      if (v != v)
        paintHatched(painter, cell, *s.theme);
      else
        painter.fillRect(cell, QColor(colourOf(s.data->look, colourLevel(v, s.lo, s.hi), s.theme->dark)));
    }
  }
  painter.restore();
}

}  // namespace microtome::desktop
