// Mouse and keyboard of HeatMapView.
#include <QApplication>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/heat_map_impl.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {

int64_t HeatMapView::Impl::rowAt(const MapPlaces& p, double y) const {
  const double row = std::floor(p.top + (y - p.plot.top()) / p.cellHeight);
  return static_cast<int64_t>(std::clamp(row, 0.0, static_cast<double>(data.rows - 1)));
}

bool HeatMapView::Impl::cellAt(const MapPlaces& p, const QPointF& at, int64_t* row, int64_t* col) const {
  if (at.x() < p.plot.left() || at.x() >= p.plot.right() || at.y() < p.plot.top() || at.y() >= p.plot.bottom())
    return false;
  const double c = std::floor(p.left + (at.x() - p.plot.left()) / p.cellWidth);
  *row = rowAt(p, at.y());
  *col = static_cast<int64_t>(std::clamp(c, 0.0, static_cast<double>(data.cols - 1)));
  return !data.causal || *col <= *row;
}

bool HeatMapView::Impl::onRowAxis(const MapPlaces& p, const QPointF& at) const {
  return at.x() >= p.rowAxis.left() && at.x() < p.plot.left() && at.y() >= p.plot.top() && at.y() < p.plot.bottom();
}

void HeatMapView::Impl::hover(int64_t newRow, int64_t newCol, const QString& said) {
  if (newRow != hoverRow || newCol != hoverCol) {
    // On the row axis a row is pointed at, but no cell.
    const bool cell = newCol >= 0, wasCell = hoverCol >= 0;
    hoverRow = newRow;
    hoverCol = newCol;
    self->update();
    if (cell || wasCell) Q_EMIT self->cellHovered(cell ? newRow : -1, newCol);
  }
  if (said != hoverSaid) {
    hoverSaid = said;
    Q_EMIT self->hoverText(said);
  }
}

void HeatMapView::Impl::hoverAt(const QPointF& at) {
  const MapPlaces p = placesNow();
  int64_t r = -1, c = -1;
  if (cellAt(p, at, &r, &c)) {
    self->setCursor(Qt::ArrowCursor);
    hover(r, c, cellPhrase(data, r, c));
  } else if (onRowAxis(p, at)) {
    self->setCursor(Qt::PointingHandCursor);
    r = rowAt(p, at.y());
    hover(r, -1, axisPhrase(data.rowAxis, data.rows, r, tr("row")));
  } else {
    self->setCursor(Qt::ArrowCursor);
    hover(-1, -1, {});
  }
}

void HeatMapView::Impl::ensureSeen(int64_t r, int64_t c) {
  QRectF v = visible;
  if (c >= 0)
    v.moveLeft(std::clamp(v.left(), static_cast<double>(c) + 1 - v.width(),
                          std::max(static_cast<double>(c), c + 1 - v.width())));
  if (r >= 0)
    v.moveTop(std::clamp(v.top(), static_cast<double>(r) + 1 - v.height(),
                         std::max(static_cast<double>(r), r + 1 - v.height())));
  setVisible(v);
}

void HeatMapView::Impl::select(int64_t newRow, int64_t newCol, bool tell) {
  if (!has || newRow < 0 || newCol < 0 || newRow >= data.rows || newCol >= data.cols) newRow = newCol = -1;
  const bool changed = newRow != row || newCol != col;
  row = newRow;
  col = newCol;
  if (row >= 0) {
    brushLast = false;
    if (changed) ensureSeen(row, col);
  }
  if (changed) {
    self->setAccessibleDescription(row >= 0 ? cellPhrase(data, row, col) : QString());
    self->update();
  }
  if (tell) Q_EMIT self->cellClicked(row, col);
}

void HeatMapView::Impl::brushRow(int64_t newRow, bool tell) {
  if (!has || newRow < 0 || newRow >= data.rows) newRow = -1;
  if (newRow == brush) return;
  brush = newRow;
  brushLast = brush >= 0;
  if (brush >= 0) ensureSeen(brush, -1);
  self->update();
  if (tell) Q_EMIT self->rowBrushed(brush);
}

void HeatMapView::Impl::moveBy(int rows, int cols) {
  if (brushLast && rows != 0) {
    brushRow(std::clamp<int64_t>(brush + rows, 0, data.rows - 1), true);
    if (brush >= 0) Q_EMIT self->hoverText(axisPhrase(data.rowAxis, data.rows, brush, tr("row")));
    return;
  }
  int64_t r = row, c = col;
  if (r < 0) {
    // The first step shows where one is: in the corner of what is seen.
    r = static_cast<int64_t>(visible.top());
    c = static_cast<int64_t>(visible.left());
  } else {
    r = std::clamp<int64_t>(r + rows, 0, data.rows - 1);
    c = std::clamp<int64_t>(c + cols, 0, data.cols - 1);
  }
  if (data.causal) c = std::min(c, r);
  if (r == row && c == col) return;
  select(r, c, true);
  Q_EMIT self->hoverText(cellPhrase(data, r, c));
}

void HeatMapView::Impl::zoom(double factorX, double factorY, const QPointF& at) {
  const MapPlaces p = placesNow();
  // The point below the mouse stays there.
  const double fx = std::clamp((at.x() - p.plot.left()) / p.plot.width(), 0.0, 1.0);
  const double fy = std::clamp((at.y() - p.plot.top()) / p.plot.height(), 0.0, 1.0);
  const double least = 2;
  const double w =
      std::clamp(visible.width() / factorX, std::min<double>(least, data.cols), static_cast<double>(data.cols));
  const double h =
      std::clamp(visible.height() / factorY, std::min<double>(least, data.rows), static_cast<double>(data.rows));
  setVisible(QRectF(visible.left() + fx * (visible.width() - w), visible.top() + fy * (visible.height() - h), w, h));
}

void HeatMapView::wheelEvent(QWheelEvent* event) {
  Impl& d = *impl_;
  const MapPlaces p = d.has ? d.placesNow() : MapPlaces();
  // With Alt held, the wheel comes as a sideways one.
  const int delta = event->angleDelta().y() != 0 ? event->angleDelta().y() : event->angleDelta().x();
  if (!d.has || delta == 0 || !p.plot.united(p.rowAxis).united(p.colAxis).contains(event->position())) {
    event->ignore();
    return;
  }
  const double factor = std::pow(1.2, std::clamp(delta, -960, 960) / 120.0);
  const bool colsOnly = event->modifiers() & Qt::ShiftModifier, rowsOnly = event->modifiers() & Qt::AltModifier;
  d.zoom(rowsOnly ? 1 : factor, colsOnly ? 1 : factor, event->position());
  d.hoverAt(event->position());
  event->accept();
}

void HeatMapView::mousePressEvent(QMouseEvent* event) {
  Impl& d = *impl_;
  if (!d.has || event->button() != Qt::LeftButton) {
    event->ignore();
    return;
  }
  const MapPlaces p = d.placesNow();
  d.pressAt = d.lastAt = event->position();
  d.unbrush = false;
  if (d.onRowAxis(p, event->position())) {
    const int64_t r = d.rowAt(p, event->position().y());
    d.drag = Impl::Drag::kBrush;
    d.unbrush = r == d.brush;
    d.brushRow(r, true);
  } else if (p.plot.contains(event->position())) {
    d.drag = Impl::Drag::kPress;
  }
}

void HeatMapView::mouseMoveEvent(QMouseEvent* event) {
  Impl& d = *impl_;
  if (!d.has) return;
  const QPointF at = event->position();
  if (d.drag == Impl::Drag::kPress && (at - d.pressAt).manhattanLength() >= QApplication::startDragDistance()) {
    d.drag = Impl::Drag::kPan;
    setCursor(Qt::ClosedHandCursor);
    d.hover(-1, -1, {});
  }
  if (d.drag == Impl::Drag::kPan) {
    const MapPlaces p = d.placesNow();
    const QPointF step = at - d.lastAt;
    d.lastAt = at;
    d.setVisible(d.visible.translated(-step.x() / p.cellWidth, -step.y() / p.cellHeight));
    return;
  }
  if (d.drag == Impl::Drag::kBrush) {
    const MapPlaces p = d.placesNow();
    const int64_t r = d.rowAt(p, at.y());
    if (r != d.brush) d.unbrush = false;
    d.brushRow(r, true);
    d.hover(r, -1, axisPhrase(d.data.rowAxis, d.data.rows, r, tr("row")));
    return;
  }
  d.hoverAt(at);
}

void HeatMapView::mouseReleaseEvent(QMouseEvent* event) {
  Impl& d = *impl_;
  if (event->button() != Qt::LeftButton) return;
  const Impl::Drag was = d.drag;
  d.drag = Impl::Drag::kNone;
  if (!d.has) return;
  int64_t r = -1, c = -1;
  if (was == Impl::Drag::kPress && d.cellAt(d.placesNow(), d.pressAt, &r, &c)) d.select(r, c, true);
  if (was == Impl::Drag::kBrush && d.unbrush) d.brushRow(-1, true);
  d.hoverAt(event->position());
}

void HeatMapView::mouseDoubleClickEvent(QMouseEvent* event) {
  Impl& d = *impl_;
  if (!d.has || event->button() != Qt::LeftButton) return;
  int64_t r = -1, c = -1;
  // Its first click has selected the cell; the release that follows must not do so again.
  d.drag = Impl::Drag::kNone;
  if (d.cellAt(d.placesNow(), event->position(), &r, &c)) Q_EMIT cellActivated(r, c);
}

void HeatMapView::leaveEvent(QEvent*) { impl_->hover(-1, -1, {}); }

void HeatMapView::keyPressEvent(QKeyEvent* event) {
  Impl& d = *impl_;
  if (!d.has) {
    event->ignore();
    return;
  }
  const QPointF middle = d.placesNow().plot.center();
  switch (event->key()) {
    case Qt::Key_Left: d.moveBy(0, -1); return;
    case Qt::Key_Right: d.moveBy(0, 1); return;
    case Qt::Key_Up: d.moveBy(-1, 0); return;
    case Qt::Key_Down: d.moveBy(1, 0); return;
    case Qt::Key_Return:
    case Qt::Key_Enter:
      if (d.row < 0) break;
      Q_EMIT cellActivated(d.row, d.col);
      return;
    case Qt::Key_Plus:
    case Qt::Key_Equal: d.zoom(1.44, 1.44, middle); return;
    case Qt::Key_Minus: d.zoom(1 / 1.44, 1 / 1.44, middle); return;
    case Qt::Key_0: zoomToFit(); return;
    case Qt::Key_Escape:
      // Without a brush, Esc is for whoever is around.
      if (d.brush < 0) break;
      d.brushRow(-1, true);
      return;
    default: break;
  }
  View::keyPressEvent(event);
}

void HeatMapView::changeEvent(QEvent* event) {
  if (event->type() == QEvent::FontChange) impl_->measured = false;
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange ||
      event->type() == QEvent::StyleChange)
    update();
  View::changeEvent(event);
}

void HeatMapView::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  update();
}

bool HeatMapView::event(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return View::event(event);
  Impl& d = *impl_;
  QString text;
  if (d.has) {
    const QPointF at = static_cast<QHelpEvent*>(event)->pos();
    const MapPlaces p = d.placesNow();
    if (p.bar.contains(at)) {
      text = labelWithUnit(d.data.label, d.data.unit);
      if (!d.data.help.isEmpty()) text = text.isEmpty() ? d.data.help : text + QStringLiteral(": ") + d.data.help;
    } else if (d.onRowAxis(p, at)) {
      text = axisPhrase(d.data.rowAxis, d.data.rows, d.rowAt(p, at.y()), tr("row"));
    } else if (p.colAxis.contains(at) && p.plot.width() > 0) {
      const double c = std::clamp(std::floor(p.left + (at.x() - p.plot.left()) / p.cellWidth), 0.0,
                                  static_cast<double>(d.data.cols - 1));
      text = axisPhrase(d.data.colAxis, d.data.cols, static_cast<int64_t>(c), tr("column"));
    }
  }
  if (text.isEmpty())
    QToolTip::hideText();
  else
    QToolTip::showText(static_cast<QHelpEvent*>(event)->globalPos(), toolTipText(text), this);
  return true;
}

}  // namespace microtome::desktop
