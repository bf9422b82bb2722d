// The parts of a chart that Qt Charts doesn't draw as we want them.
#include <QFontMetricsF>
#include <QPainter>
#include <QPainterPath>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_frame.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

QColor faded(QColor colour, double alpha) {
  colour.setAlphaF(static_cast<float>(alpha));
  return colour;
}

// On the middle of a pixel, so that a line of one pixel is one.
double crisp(double v) { return std::floor(v) + 0.5; }

void drawGrid(QPainter& p, const ChartState& state, const ChartFrame& f, const Theme& theme) {
  p.setRenderHint(QPainter::Antialiasing, false);
  for (const ChartTick& tick : f.yTicks) {
    const double y = crisp(f.toPixel(f.range.xLo, tick.at).y());
    p.setPen(QPen(faded(theme.faint, tick.label.isEmpty() ? 0.45 : 1), 1));
    p.drawLine(QPointF(f.plot.left(), y), QPointF(f.plot.right(), y));
  }
  p.setPen(QPen(faded(theme.faint, state.tokens() ? 0.5 : 1), 1));
  for (const ChartTick& tick : f.xTicks) {
    const double x = crisp(f.toPixel(tick.at, 0).x());
    if (x < f.plot.left() || x > f.plot.right() + 1) continue;
    p.drawLine(QPointF(x, f.plot.top()), QPointF(x, f.plot.bottom()));
  }
  // Zero is what signed values are read against.
  p.setPen(QPen(theme.muted, 1));
  const bool zero = !state.logY && f.range.yLo < 0 && f.range.yHi > 0;
  if (zero) {
    const double y = crisp(f.toPixel(0, 0).y());
    p.drawLine(QPointF(f.plot.left(), y), QPointF(f.plot.right(), y));
  }
  if (state.scatter() && f.range.xLo < 0 && f.range.xHi > 0) {
    const double x = crisp(f.toPixel(0, 0).x());
    p.drawLine(QPointF(x, f.plot.top()), QPointF(x, f.plot.bottom()));
  }
  if (!zero) p.drawLine(QPointF(f.plot.left(), crisp(f.plot.bottom())), QPointF(f.plot.right(), crisp(f.plot.bottom())));
  p.setRenderHint(QPainter::Antialiasing, true);
  if (state.scatter() && state.data.unitCircle) {
    p.save();
    p.setClipRect(f.plot, Qt::IntersectClip);
    const QPointF a = f.toPixel(-1, 1), b = f.toPixel(1, -1);
    p.setBrush(Qt::NoBrush);
    p.setPen(QPen(theme.muted, 1.5, Qt::DashLine));
    p.drawEllipse(QRectF(a, b));
    p.restore();
  }
}

void drawLabels(QPainter& p, const ChartState& state, const ChartFrame& f, const ChartFonts& fonts, const Theme& theme) {
  p.setPen(theme.muted);
  p.setFont(fonts.small);
  const QFontMetricsF small(fonts.small), token(fonts.token);
  double last = std::numeric_limits<double>::infinity();
  for (const ChartTick& tick : f.yTicks) {
    if (tick.label.isEmpty()) continue;
    const double y = f.toPixel(f.range.xLo, tick.at).y();
    if (y < f.plot.top() - 1 || y > f.plot.bottom() + 1 || std::abs(y - last) < small.height() * 0.9) continue;
    last = y;
    p.drawText(QRectF(0, y - small.height() / 2, f.plot.left() - kGrid, small.height()), Qt::AlignRight | Qt::AlignVCenter,
               tick.label);
  }
  const bool tokens = state.tokens();
  p.setFont(tokens ? fonts.token : fonts.small);
  if (tokens) p.setPen(theme.text);
  const QFontMetricsF& metrics = tokens ? token : small;
  const double top = f.plot.bottom() + kGrid / 2.0;
  for (const ChartTick& tick : f.xTicks) {
    const double x = f.toPixel(tick.at, 0).x();
    if (x < f.plot.left() - 1 || x > f.plot.right() + 1) continue;
    const double width = metrics.horizontalAdvance(tick.label);
    if (!f.slanted) {
      const double at = std::clamp(x - width / 2, 0.0, std::max(0.0, f.size.width() - width));
      p.drawText(QRectF(at, top, width + 2, metrics.height()), Qt::AlignLeft | Qt::AlignVCenter, tick.label);
      continue;
    }
    p.save();
    p.translate(x + metrics.height() * 0.25, top);
    p.rotate(-45);
    p.drawText(QRectF(-width - 2, -metrics.height() * 0.25, width + 2, metrics.height()), Qt::AlignRight | Qt::AlignVCenter,
               tick.label);
    p.restore();
  }
  p.setFont(fonts.small);
  p.setPen(theme.muted);
  if (!f.xTitle.isEmpty())
    p.drawText(f.xTitle, Qt::AlignCenter,
               small.elidedText(plainLine(state.data.xLabel, 200), Qt::ElideRight, f.xTitle.width()));
  if (!f.yTitle.isEmpty()) {
    p.save();
    p.translate(f.yTitle.left(), f.yTitle.bottom());
    p.rotate(-90);
    const double room = f.yTitle.height();
    p.drawText(QRectF(0, 0, room, f.yTitle.width()), Qt::AlignCenter,
               small.elidedText(plainLine(state.data.yLabel, 200), Qt::ElideRight, room));
    p.restore();
  }
  if (!f.title.isEmpty()) {
    p.setFont(fonts.title);
    p.setPen(theme.text);
    p.drawText(f.title, Qt::AlignLeft | Qt::AlignVCenter,
               QFontMetricsF(fonts.title).elidedText(plainLine(state.data.title, 200), Qt::ElideRight, f.title.width()));
  }
  if (state.unshown > 0) {
    p.setFont(fonts.small);
    p.setPen(theme.muted);
    p.drawText(f.plot.adjusted(kGrid / 2.0, kGrid / 2.0, -kGrid / 2.0, 0), Qt::AlignRight | Qt::AlignTop,
               ChartView::tr("%L1 points ≤ 0 not shown").arg(state.unshown));
  }
}

void drawLegend(QPainter& p, const ChartState& state, const ChartFrame& f, const ChartFonts& fonts, const Theme& theme) {
  p.setFont(fonts.small);
  for (const LegendKey& key : f.legend) {
    p.setPen(theme.muted);
    if (key.line < 0) {
      p.drawText(key.rect, Qt::AlignLeft | Qt::AlignVCenter, key.text);
      continue;
    }
    const auto line = static_cast<size_t>(key.line);
    const bool shown = state.shows(line);
    const QColor colour = shown ? lineColour(state, line, theme) : theme.faint;
    const double y = key.rect.center().y();
    if (state.scatter()) {
      p.setPen(Qt::NoPen);
      p.setBrush(colour);
      const QRectF dot(key.rect.left() + kGrid, y - 4, 8, 8);
      if (line % 2) p.drawRect(dot.adjusted(0.5, 0.5, -0.5, -0.5));
      else p.drawEllipse(dot);
    } else {
      p.setPen(QPen(colour, 2, lineStyle(state, line, theme), Qt::FlatCap));
      p.drawLine(QPointF(key.rect.left(), y), QPointF(key.rect.left() + 2.5 * kGrid, y));
    }
    p.setPen(shown ? theme.text : theme.muted);
    QFont font = fonts.small;
    font.setStrikeOut(!shown);
    p.setFont(font);
    p.drawText(key.rect.adjusted(3.25 * kGrid, 0, 2, 0), Qt::AlignLeft | Qt::AlignVCenter, key.text);
  }
}

}  // namespace

void drawBackdrop(QPainter& p, const ChartState& state, const ChartFrame& f, const ChartFonts& fonts, const Theme& theme) {
  p.save();
  if (!state.emptyText.isEmpty()) {
    p.setPen(theme.muted);
    p.setFont(fonts.base);
    const QRectF whole = QRectF(QPointF(), f.size).adjusted(2 * kGrid, 2 * kGrid, -2 * kGrid, -2 * kGrid);
    p.drawText(whole, Qt::AlignCenter | Qt::TextWordWrap, state.emptyText);
  } else {
    drawGrid(p, state, f, theme);
    drawLabels(p, state, f, fonts, theme);
    drawLegend(p, state, f, fonts, theme);
  }
  p.restore();
}

void drawOverlay(QPainter& p, const ChartState& state, const ChartFrame& f, const ChartHover& hover, const QRectF& band,
                 const ChartFonts& fonts, const Theme& theme) {
  if (!state.emptyText.isEmpty()) return;
  p.save();
  p.setRenderHint(QPainter::Antialiasing);
  if (std::isfinite(state.cursor) && state.cursor >= f.range.xLo && state.cursor <= f.range.xHi && !state.scatter()) {
    const double x = crisp(f.toPixel(state.cursor, 0).x());
    p.setPen(QPen(theme.accent, 1.5));
    p.drawLine(QPointF(x, f.plot.top()), QPointF(x, f.plot.bottom()));
    QPainterPath grip;
    grip.moveTo(x - 5, f.plot.top() - 6);
    grip.lineTo(x + 5, f.plot.top() - 6);
    grip.lineTo(x, f.plot.top() + 1);
    grip.closeSubpath();
    p.fillPath(grip, theme.accent);
  }
  if (!band.isNull()) {
    p.setPen(QPen(theme.accent, 1));
    p.setBrush(faded(theme.accent, 0.15));
    p.drawRect(band);
  }
  if (hover.line >= 0 && static_cast<size_t>(hover.line) < state.data.lines.size()) {
    const QColor colour = lineColour(state, static_cast<size_t>(hover.line), theme);
    p.setPen(QPen(theme.surface, 2));
    p.setBrush(colour);
    p.drawEllipse(hover.at, 5, 5);
    QFont bold = fonts.small;
    bold.setBold(true);
    const QFontMetricsF small(fonts.small), heavy(bold);
    const double most = std::max(8.0 * kGrid, f.plot.width() - 2 * kGrid);
    std::vector<std::pair<QString, bool>> rows;
    for (const auto& [text, isName] : {std::pair{hover.name, true}, {hover.x, false}, {hover.y, false}})
      if (!text.isEmpty())
  rows.emplace_back((isName ? heavy : small).elidedText(text, Qt::ElideRight, std::min(most, 36.0 * kGrid)), isName);
    double width = 0;
    for (const auto& [text, isName] : rows) width = std::max(width, (isName ? heavy : small).horizontalAdvance(text));
    const double height = std::ceil(small.height());
    QRectF box(0, 0, std::ceil(width) + 2 * kGrid, height * static_cast<double>(rows.size()) + kGrid);
    box.moveTo(hover.at.x() + 1.5 * kGrid, hover.at.y() - box.height() - kGrid);
    if (box.right() > f.size.width() - 2) box.moveRight(hover.at.x() - 1.5 * kGrid);
    if (box.left() < 2) box.moveLeft(2);
    if (box.top() < 2) box.moveTop(std::min(hover.at.y() + 1.5 * kGrid, std::max(2.0, f.size.height() - box.height() - 2)));
    p.setPen(QPen(colour, 1));
    p.setBrush(theme.raised);
    p.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 4, 4);
    double y = box.top() + kGrid / 2.0;
    for (const auto& [text, isName] : rows) {
      p.setFont(isName ? bold : fonts.small);
      p.setPen(theme.text);
      p.drawText(QRectF(box.left() + kGrid, y, box.width(), height), Qt::AlignLeft | Qt::AlignVCenter, text);
      y += height;
    }
  }
  p.restore();
}

}  // namespace microtome::desktop
