// Where the maps of HeatMapGridView lie and how they are drawn.
#include <QElapsedTimer>
#include <QFontMetricsF>
#include <QPaintEngine>
#include <QPainter>
#include <QTimer>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/heat_map_grid_impl.h"
#include "app/desktop/views/map_axis.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

constexpr double kMapMost = 25 * kGrid;  // maps of a small grid do not grow without end
constexpr double kBarGap = 16;
constexpr qint64 kPaintMs = 25;  // for maps drawn anew within one frame

}  // namespace

// ---- places --------------------------------------------------------------------------------------------------------

GridPlaces HeatMapGridView::Impl::places(const QSizeF& size) const {
  GridPlaces p;
  const QFont small = tickFont(self->font(), false);
  const double fh = QFontMetricsF(small).height();
  const bool axes = size.width() >= 15 * kGrid && size.height() >= 12 * kGrid;
  double left = kGrid, right = kGrid, bottom = kGrid;
  const double top = kGrid;
  if (axes) {
    left += (data.rowAxis.name.isEmpty() ? 0 : fh + kLabelGap) + kLabelGap +
            (data.rowAxis.kinds.empty() ? 0 : kKindStrip + 2) +
            std::min(widestLabel(data.rowAxis, data.rows, tickFont(self->font(), data.rowAxis.tokens)), 12.0 * kGrid);
    bottom += kLabelGap + fh + (data.colAxis.kinds.empty() ? 0 : kKindStrip + 2) +
              (data.colAxis.name.isEmpty() ? 0 : fh + kLabelGap / 2);
  }
  double barWidth = 0;
  if (size.width() >= 25 * kGrid && size.height() >= 10 * kGrid)
    for (const ColourBar& bar : bars()) barWidth = std::max(barWidth, colourBarWidth(bar, self->font()));
  if (barWidth > 0) right += kBarGap + barWidth;
  const double wide = std::max(1.0, size.width() - left - right), high = std::max(1.0, size.height() - top - bottom);
  const double rows = static_cast<double>(data.rows), cols = static_cast<double>(data.cols);
  double pitchX = std::min(wide / cols, kMapMost), pitchY = std::min(high / rows, kMapMost);
  // Maps keep their own shape, within reason.
  const auto first = std::find_if(maps.begin(), maps.end(), [](const GridMap& m) { return m.grid.valid(); });
  double shape = 1;
  if (first != maps.end())
    shape = std::clamp(static_cast<double>(first->grid.cols) / static_cast<double>(first->grid.rows), 0.5, 2.0);
  const double gapX = std::clamp(std::floor(pitchX / 12), 1.0, 8.0),
               gapY = std::clamp(std::floor(pitchY / 12), 1.0, 8.0);
  const double gap = std::min(gapX, gapY);
  const double height = std::max(1.0, std::min(pitchY - gap, (pitchX - gap) / shape));
  p.width = std::max(1.0, std::floor(height * shape));
  p.height = std::max(1.0, std::floor(height));
  p.pitchX = std::min(pitchX, p.width + gap);
  p.pitchY = std::min(pitchY, p.height + gap);
  if (pitchX >= 4) p.pitchX = std::floor(p.pitchX);
  if (pitchY >= 4) p.pitchY = std::floor(p.pitchY);
  p.field = QRectF(0, 0, p.pitchX * cols, p.pitchY * rows);
  p.field.moveTopLeft(
      QPointF(std::floor(left + (wide - p.field.width()) / 2), std::floor(top + (high - p.field.height()) / 2)));
  if (axes) {
    p.rowAxis =
        QRectF(p.field.left() - left + kGrid, p.field.top() - kGrid, left - kGrid, p.field.height() + 2 * kGrid);
    p.colAxis = QRectF(p.field.left(), p.field.bottom() - gap, p.field.width(), bottom - kGrid);
  }
  if (barWidth > 0)
    p.bars = QRectF(p.field.right() + kBarGap - gap, p.field.top(), barWidth,
                    std::min(std::max(p.field.height() - gap, 20.0 * kGrid), high));
  p.used = QRectF(p.field.left() - left, p.field.top() - top, left + p.field.width() + right,
                  top + std::max(p.field.height() + bottom, p.bars.height() + kGrid));
  return p;
}

bool HeatMapGridView::Impl::hit(const QPointF& point, int64_t* r, int64_t* c) {
  if (!has) return false;
  const GridPlaces p = places(self->size());
  if (!p.field.contains(point)) return false;
  *c = static_cast<int64_t>((point.x() - p.field.left()) / p.pitchX);
  *r = static_cast<int64_t>((point.y() - p.field.top()) / p.pitchY);
  return at(*r, *c) != nullptr;
}

QString HeatMapGridView::Impl::phrase(int64_t r, int64_t c) {
  const GridMap* one = at(r, c);
  if (!one) return {};
  const HeatMapData& map = mapAt(r, c);
  const QString place = axisPhrase(data.rowAxis, data.rows, r, tr("row")) + QStringLiteral(", ") +
                        axisPhrase(data.colAxis, data.cols, c, tr("column"));
  if (!measured) return place;
  const QString label = (map.label.isEmpty() ? data.label : map.label).left(64);
  QString text = place + QStringLiteral(": ") + (label.isEmpty() ? QString() : label + QLatin1Char(' '));
  const QString unit = map.unit.isEmpty() ? QString() : QLatin1Char(' ') + map.unit.left(32);
  if (!one->extent.any) return place + tr(": no values");
  if (map.look == Look::kDiverging)
    return text + tr("from %1 to %2").arg(numberText(one->extent.lo), numberText(one->extent.hi)) + unit;
  return text + tr("up to %1").arg(numberText(one->extent.hi)) + unit;
}

// ---- drawing -------------------------------------------------------------------------------------------------------

void HeatMapGridView::Impl::paint(QPainter& painter, const QSizeF& size, bool picture) {
  const Theme& theme = Theme::of(self);
  if (!has) {
    paintEmptyText(painter, QRectF(QPointF(), size), emptyText, theme);
    return;
  }
  const GridPlaces p = places(size);
  double ratio = self->devicePixelRatioF();
  if (picture) {
    const bool vector = painter.paintEngine() && painter.paintEngine()->type() != QPaintEngine::Raster;
    ratio = vector ? 2.0
                   : std::clamp(std::hypot(painter.deviceTransform().m11(), painter.deviceTransform().m12()), 1.0, 8.0);
  }
  const QSize pixels = (QSizeF(p.width, p.height) * ratio).toSize().expandedTo(QSize(1, 1));
  if (!picture && (pixels != imageSize || theme.dark != imageDark)) {
    imageSize = pixels;
    imageDark = theme.dark;
    for (GridMap& one : maps) one.fresh = false;
  }
  painter.setRenderHint(QPainter::Antialiasing, false);
  QElapsedTimer clock;
  clock.start();
  bool more = false;
  for (int64_t r = 0; r < data.rows; ++r) {
    for (int64_t c = 0; c < data.cols; ++c) {
      const QRectF rect = mapRect(p, r, c);
      GridMap* one = at(r, c);
      painter.setBrush(Qt::NoBrush);
      if (!one) {
        painter.fillRect(rect.adjusted(0, 0, -1, -1), theme.window);
        if (p.width >= 16) {
          painter.setPen(QPen(theme.faint, 1));
          painter.drawRect(rect.adjusted(-1, -1, 0, 0));
        }
        continue;
      }
      const HeatMapData& map = mapAt(r, c);
      const auto [lo, hi] = scaleOfMap(*one, map);
      const CellPaint how{QRectF(0, 0, static_cast<double>(map.cols), static_cast<double>(map.rows)),
                          pixels,
                          lo,
                          hi,
                          theme.dark,
                          ratio};
      if (picture) {
        painter.drawImage(rect, cellImage(one->grid, one->pyramid.get(), how));
      } else {
        // A frame has its time; the rest comes with the next ones, and until then the older image is shown.
        if (!one->fresh && measured) {
          if (clock.elapsed() < kPaintMs) {
            one->image = cellImage(one->grid, one->pyramid.get(), how);
            one->fresh = true;
          } else {
            more = true;
          }
        }
        if (!one->image.isNull())
          painter.drawImage(rect, one->image);
        else
          painter.fillRect(rect, theme.raised);
      }
      if (p.width >= 16) {
        painter.setPen(QPen(theme.faint, 1));
        painter.drawRect(rect.adjusted(-1, -1, 0, 0));
      }
    }
  }
  const auto frame = [&](int64_t r, int64_t c, const QColor& colour, double width) {
    const QRectF rect = mapRect(p, r, c).adjusted(-1, -1, 0, 0);
    painter.setPen(QPen(theme.surface, width + 2, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
    painter.drawRect(rect);
    painter.setPen(QPen(colour, width, Qt::SolidLine, Qt::SquareCap, Qt::MiterJoin));
    painter.drawRect(rect);
  };
  painter.setBrush(Qt::NoBrush);
  if (row >= 0) frame(row, col, theme.highlight, 2);
  if (!picture && hoverRow >= 0 && (hoverRow != row || hoverCol != col)) frame(hoverRow, hoverCol, theme.text, 1);

  painter.setRenderHint(QPainter::Antialiasing, true);
  const double fh = QFontMetricsF(tickFont(self->font(), false)).height();
  if (!p.rowAxis.isEmpty()) {
    AxisPaint a;
    a.axis = &data.rowAxis;
    a.count = data.rows;
    a.origin = a.from = p.field.top();
    a.to = p.field.bottom();
    a.pitch = p.pitchY;
    a.shown = p.height;
    a.font = tickFont(self->font(), data.rowAxis.tokens);
    a.nameFont = tickFont(self->font(), false);
    a.hovered = picture ? -1 : hoverRow;
    a.chosen = {row};
    const QRectF area = p.rowAxis;
    const double name = data.rowAxis.name.isEmpty() ? 0 : fh + kLabelGap,
                 strip = data.rowAxis.kinds.empty() ? 0 : kKindStrip + 2;
    if (name > 0) a.name = QRectF(area.left(), p.field.top(), fh, p.field.height());
    if (strip > 0) a.strip = QRectF(area.right() - kKindStrip - 3, p.field.top(), kKindStrip, p.field.height());
    a.labels = QRectF(area.left() + name, area.top(), area.width() - name - strip - kLabelGap, area.height());
    paintAxis(painter, a, theme);
  }
  if (!p.colAxis.isEmpty()) {
    AxisPaint a;
    a.axis = &data.colAxis;
    a.count = data.cols;
    a.side = AxisPaint::Side::kBelow;
    a.origin = a.from = p.field.left();
    a.to = p.field.right();
    a.pitch = p.pitchX;
    a.shown = p.width;
    a.font = tickFont(self->font(), data.colAxis.tokens);
    a.nameFont = tickFont(self->font(), false);
    a.hovered = picture ? -1 : hoverCol;
    a.chosen = {col};
    const QRectF area = p.colAxis;
    const double strip = data.colAxis.kinds.empty() ? 0 : kKindStrip + 2;
    if (strip > 0) a.strip = QRectF(p.field.left(), area.top() + 3, p.field.width(), kKindStrip);
    if (!data.colAxis.name.isEmpty()) {
      const double wide = std::max(p.field.width(), 15.0 * kGrid);
      a.name = QRectF(p.field.center().x() - wide / 2, area.bottom() - fh, wide, fh);
    }
    a.labels = QRectF(p.used.left(), area.top() + strip + kLabelGap, p.used.width(), fh);
    paintAxis(painter, a, theme);
  }
  if (!p.bars.isEmpty()) {
    const std::vector<ColourBar> all = bars();
    const double between = 2 * kGrid;
    const double each =
        (p.bars.height() - between * static_cast<double>(all.size() - 1)) / static_cast<double>(all.size());
    for (size_t i = 0; i < all.size(); ++i)
      paintColourBar(
          painter,
          QRectF(p.bars.left(), p.bars.top() + static_cast<double>(i) * (each + between), p.bars.width(), each), all[i],
          self->font(), theme);
  }
  if (more) QTimer::singleShot(0, self, [view = self] { view->update(); });
}

}  // namespace microtome::desktop
