// What mouse and keyboard do in a chart.
#include <QFocusEvent>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <QWheelEvent>
#include <QtCharts/QChart>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_canvas.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr double kNear = 10;                           // pixels within which a click means a point
constexpr double kMoved = 4;                           // pixels after which a press is a drag

double distance(const QPointF& a, const QPointF& b) { return std::hypot(a.x() - b.x(), a.y() - b.y()); }

}  // namespace

QString ChartCanvas::xText(double x) const {
  if (state_.tokens() && x == std::floor(x) && x >= 0 && x < static_cast<double>(state_.data.xTicks.size()))
    return QStringLiteral("%1 %2").arg(numberText(x), visibleToken(state_.data.xTicks[static_cast<qsizetype>(x)].left(60)));
  return numberText(state_.data.logX ? std::pow(10.0, x) : x);
}

ChartHover ChartCanvas::hoverAt(const QPointF& pixel) const {
  ChartHover best;
  if (!state_.emptyText.isEmpty() || !frame_.plot.adjusted(-2, -2, 2, 2).contains(pixel)) return best;
  double nearest = std::numeric_limits<double>::infinity();
  const double x = frame_.xAt(pixel.x());
  const auto shown = [&](size_t line, size_t i) {
    const std::vector<double>& y = state_.data.lines[line].y;
    return frame_.toPixel(state_.data.lines[line].x[i], state_.logY ? std::log10(y[i]) : y[i]);
  };
  for (size_t l = 0; l < state_.data.lines.size(); ++l) {
    if (!state_.shows(l)) continue;
    const ChartLine& line = state_.data.lines[l];
    if (state_.scatter()) {
      for (size_t i = 0, n = pointsOf(line); i < n; ++i) {
        if (!std::isfinite(line.x[i]) || !std::isfinite(line.y[i]) || (state_.logY && line.y[i] <= 0)) continue;
        const QPointF at = shown(l, i);
        const double d = distance(at, pixel);
        if (d >= nearest || d >= 3 * kNear) continue;
        nearest = d;
        best.line = static_cast<int>(l);
        best.index = static_cast<qint64>(i);
        best.at = at;
      }
      continue;
    }
    const qint64 i = nearestInX(line.x, line.y, state_.ascending[l], x, state_.logY);
    if (i < 0) continue;
    const QPointF at = shown(l, static_cast<size_t>(i));
    if (!frame_.plot.adjusted(-1, -1, 1, 1).contains(at)) continue;
    // All lines answer for this x; the one nearest in height speaks.
    const double d = std::abs(at.y() - pixel.y()) + 4 * std::abs(at.x() - pixel.x());
    if (d >= nearest) continue;
    nearest = d;
    best.line = static_cast<int>(l);
    best.index = i;
    best.at = at;
  }
  if (best.line < 0) return best;
  const ChartLine& line = state_.data.lines[static_cast<size_t>(best.line)];
  const auto i = static_cast<size_t>(best.index);
  const QString unit = plainLine(unitOf(state_.data.yLabel), 40);
  best.name = plainLine(line.name, 120);
  best.x = tr("x = %1").arg(xText(line.x[i]));
  best.y = tr("y = %1").arg(numberText(line.y[i])) + (unit.isEmpty() ? QString() : QLatin1Char(' ') + unit);
  if (state_.halfLife > 0 && !state_.scatter() && static_cast<size_t>(best.line) < state_.smooth.size())
    best.y += tr(", smoothed %1").arg(numberText(state_.smooth[static_cast<size_t>(best.line)][i]));
  return best;
}

void ChartCanvas::setHover(const ChartHover& hover) {
  if (hover.line == hover_.line && hover.index == hover_.index && hover.at == hover_.at) return;
  hover_ = hover;
  overlayChanged();
  Q_EMIT hoverText(hover.line < 0 ? QString() : QStringLiteral("%1: %2, %3").arg(hover.name, hover.x, hover.y));
}

void ChartCanvas::moveCursor(double x) {
  if (state_.tokens()) x = std::clamp(std::round(x), 0.0, static_cast<double>(state_.data.xTicks.size()) - 1);
  if (!std::isfinite(x) || x == state_.cursor) return;
  state_.cursor = x;
  overlayChanged();
  Q_EMIT cursorMoved(x);
}

// To the next point of the first line that is shown; the view follows.
void ChartCanvas::moveCursorBy(int steps) {
  const auto lines = static_cast<size_t>(state_.data.lines.size());
  double to = state_.cursor;
  if (state_.tokens()) {
    to = std::isfinite(to) ? to + steps : steps > 0 ? 0 : static_cast<double>(state_.data.xTicks.size()) - 1;
  } else {
    size_t l = 0;
    while (l < lines && !(state_.shows(l) && state_.ascending[l] && !state_.data.lines[l].x.empty())) ++l;
    if (l == lines) return;
    const std::vector<double>& x = state_.data.lines[l].x;
    const auto n = static_cast<qint64>(x.size());
    qint64 at = std::lower_bound(x.begin(), x.end(), std::isfinite(to) ? to : frame_.range.xLo) - x.begin();
    // Between two points the one to the right is a step away already.
    if (std::isfinite(to)) at += at < n && x[static_cast<size_t>(at)] != to && steps > 0 ? steps - 1 : steps;
    to = x[static_cast<size_t>(std::clamp<qint64>(at, 0, n - 1))];
  }
  moveCursor(to);
  const double width = frame_.range.xHi - frame_.range.xLo;
  if (zoomed_ && (state_.cursor < frame_.range.xLo || state_.cursor > frame_.range.xHi)) {
    ChartRange r = frame_.range;
    r.xLo = state_.cursor - width / 2;
    r.xHi = state_.cursor + width / 2;
    zoomTo(r);
  }
}

int ChartCanvas::legendAt(const QPointF& pixel) const {
  for (const LegendKey& key : frame_.legend)
    if (key.line >= 0 && key.rect.contains(pixel)) return key.line;
  return -1;
}

void ChartCanvas::resizeEvent(QResizeEvent* event) {
  QChartView::resizeEvent(event);
  place(size());
}

void ChartCanvas::wheelEvent(QWheelEvent* event) {
  const QPointF at = event->position();
  const QPoint turn = event->angleDelta();
  if (!state_.emptyText.isEmpty() || !frame_.plot.contains(at) || turn.isNull()) {
    event->ignore();
    return;
  }
  ChartRange r = frame_.range;
  const double width = r.xHi - r.xLo;
  const bool pan = event->modifiers() & Qt::ShiftModifier || std::abs(turn.x()) > std::abs(turn.y());
  const double notches = (turn.y() != 0 && std::abs(turn.y()) >= std::abs(turn.x()) ? turn.y() : turn.x()) / 120.0;
  if (pan) {
    // No further than the numbers go.
    const double shift = std::clamp(-notches * width * 0.1, std::min(0.0, full_.xLo - r.xLo),
                                    std::max(0.0, full_.xHi - r.xHi));
    r.xLo += shift;
    r.xHi += shift;
  } else {
    const double factor = std::pow(0.8, notches);
    const double middle = frame_.xAt(at.x());
    r.xLo = middle - (middle - r.xLo) * factor;
    r.xHi = middle + (r.xHi - middle) * factor;
    if (state_.scatter()) {
      const double level = frame_.yAt(at.y());
      r.yLo = level - (level - r.yLo) * factor;
      r.yHi = level + (r.yHi - level) * factor;
    }
    if (factor > 1 && r.xHi - r.xLo >= full_.xHi - full_.xLo &&
        (!state_.scatter() || r.yHi - r.yLo >= full_.yHi - full_.yLo)) {
      resetZoom();
      event->accept();
      return;
    }
  }
  zoomTo(r);
  setHover(hoverAt(at));
  event->accept();
}

void ChartCanvas::mousePressEvent(QMouseEvent* event) {
  pressed_ = event->position();
  drag_ = Drag::kNone;
  ring_ = false;
  if (event->button() != Qt::LeftButton || !state_.emptyText.isEmpty()) return event->ignore();
  if (const int line = legendAt(pressed_); line >= 0) {
    Q_EMIT lineToggled(line);
    return;
  }
  if (!frame_.plot.contains(pressed_)) return;
  if (event->modifiers() & Qt::ControlModifier) {
    drag_ = Drag::kBand;
  } else if (!state_.scatter()) {
    drag_ = Drag::kCursor;
    moveCursor(frame_.xAt(pressed_.x()));
  }
}

void ChartCanvas::mouseMoveEvent(QMouseEvent* event) {
  const QPointF at = event->position();
  if (drag_ == Drag::kBand) {
    band_ = QRectF(pressed_, at).normalized().intersected(frame_.plot);
    overlayChanged();
  } else if (drag_ == Drag::kCursor) {
    moveCursor(frame_.xAt(std::clamp(at.x(), frame_.plot.left(), frame_.plot.right())));
  }
  if (drag_ != Drag::kBand) setHover(hoverAt(at));
  viewport()->setCursor(legendAt(at) >= 0 ? Qt::PointingHandCursor : Qt::ArrowCursor);
}

void ChartCanvas::mouseReleaseEvent(QMouseEvent* event) {
  const QRectF band = band_;
  const Drag drag = drag_;
  drag_ = Drag::kNone;
  band_ = {};
  overlayChanged();
  if (event->button() != Qt::LeftButton) return event->ignore();
  if (drag == Drag::kBand) {
    if (band.width() < kMoved || band.height() < kMoved) return;
    return zoomTo({frame_.xAt(band.left()), frame_.xAt(band.right()), frame_.yAt(band.bottom()), frame_.yAt(band.top())});
  }
  if (distance(event->position(), pressed_) > kMoved) return;
  const ChartHover hit = hoverAt(event->position());
  if (hit.line >= 0 && distance(hit.at, event->position()) <= kNear)
    Q_EMIT pointClicked(hit.line, static_cast<int>(hit.index));
}

void ChartCanvas::mouseDoubleClickEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton && frame_.plot.contains(event->position())) resetZoom();
}

void ChartCanvas::leaveEvent(QEvent* event) {
  QChartView::leaveEvent(event);
  setHover({});
}

void ChartCanvas::keyPressEvent(QKeyEvent* event) {
  const double width = frame_.range.xHi - frame_.range.xLo;
  const auto zoom = [&](double factor) {
    ChartRange r = frame_.range;
    const bool about = std::isfinite(state_.cursor) && !state_.scatter();
    const double middle = about ? std::clamp(state_.cursor, r.xLo, r.xHi) : (r.xLo + r.xHi) / 2;
    r.xLo = middle - (middle - r.xLo) * factor;
    r.xHi = middle + (r.xHi - middle) * factor;
    if (r.xHi - r.xLo >= full_.xHi - full_.xLo) resetZoom();
    else zoomTo(r);
  };
  const bool cursor = state_.emptyText.isEmpty() && !state_.scatter();
  switch (event->key()) {
    case Qt::Key_Left: if (cursor) moveCursorBy(-1); break;
    case Qt::Key_Right: if (cursor) moveCursorBy(1); break;
    case Qt::Key_Home: if (cursor) moveCursor(state_.tokens() ? 0 : full_.xLo + width * 0.01); break;
    case Qt::Key_End: if (cursor) moveCursor(state_.tokens() ? full_.xHi : full_.xHi - width * 0.01); break;
    case Qt::Key_Plus:
    case Qt::Key_Equal: zoom(0.8); break;
    case Qt::Key_Minus: zoom(1.25); break;
    case Qt::Key_0: resetZoom(); break;
    default: return event->ignore();
  }
  ring_ = true;
  overlayChanged();
}

// The view's menu, not the chart's.
void ChartCanvas::contextMenuEvent(QContextMenuEvent* event) { event->ignore(); }

void ChartCanvas::focusInEvent(QFocusEvent* event) {
  QChartView::focusInEvent(event);
  ring_ = event->reason() == Qt::TabFocusReason || event->reason() == Qt::BacktabFocusReason;
  overlayChanged();
}

void ChartCanvas::focusOutEvent(QFocusEvent* event) {
  QChartView::focusOutEvent(event);
  ring_ = false;
  overlayChanged();
}

bool ChartCanvas::viewportEvent(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return QChartView::viewportEvent(event);
  auto* help = static_cast<QHelpEvent*>(event);
  const QPointF at = help->pos();
  QStringList lines;
  if (const int key = legendAt(at); key >= 0) {
    const ChartLine& line = state_.data.lines[static_cast<size_t>(key)];
    lines += plainLine(line.name, 300);
    if (!line.help.isEmpty()) lines += plainLine(line.help, 1000);
    lines += state_.shows(static_cast<size_t>(key)) ? tr("Click to hide this line.") : tr("Click to show this line.");
  } else if (state_.tokens() && at.y() > frame_.plot.bottom() && at.x() > frame_.plot.left()) {
    const auto i = static_cast<qsizetype>(std::round(frame_.xAt(at.x())));
    if (i >= 0 && i < state_.data.xTicks.size())
      lines += tr("position %1 · %2").arg(i).arg(quotedToken(state_.data.xTicks[i]));
  } else if (state_.unshown > 0) {
    lines += tr("%L1 points are not shown: a log scale has no place for zero and below.").arg(state_.unshown);
  }
  if (lines.isEmpty()) {
    QToolTip::hideText();
    event->ignore();
    return true;
  }
  QString text;
  for (const QString& line : lines) text += QStringLiteral("<p>%1</p>").arg(line.toHtmlEscaped());
  QToolTip::showText(help->globalPos(), text, this);
  return true;
}

}  // namespace microtome::desktop
