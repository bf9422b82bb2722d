// Mouse and keyboard of TokenMapView.
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/map_text.h"
#include "app/desktop/views/token_map_impl.h"

namespace microtome::desktop {

bool TokenMapView::Impl::cellAt(const QPointF& at, int64_t* r, int64_t* c) const {
  if (!has) return false;
  const TokenMapPlaces p = placesNow();
  if (!p.plot.contains(at) || at.x() >= p.plot.right() || at.y() >= p.plot.bottom()) return false;
  *c = static_cast<int64_t>((at.x() - p.x0) / p.cellWidth);
  *r = static_cast<int64_t>((at.y() - p.y0) / p.cellHeight);
  return inside(*r, *c);
}

void TokenMapView::Impl::hover(int64_t r, int64_t c) {
  if (r == hoverRow && c == hoverCol) return;
  hoverRow = r;
  hoverCol = c;
  Q_EMIT self->cellHovered(r, c);
  Q_EMIT self->hoverText(phrase(r, c));
  self->update();
}

void TokenMapView::Impl::ensureSeen(int64_t r, int64_t c) {
  const TokenMapPlaces p = placesNow();
  const auto move = [](QScrollBar* bar, double from, double to, double page) {
    if (from < bar->value()) bar->setValue(static_cast<int>(std::floor(from)));
    else if (to > bar->value() + page) bar->setValue(static_cast<int>(std::ceil(to - page)));
  };
  move(across, static_cast<double>(c) * p.cellWidth, static_cast<double>(c + 1) * p.cellWidth, p.plot.width());
  move(down, static_cast<double>(r) * p.cellHeight, static_cast<double>(r + 1) * p.cellHeight, p.plot.height());
}

void TokenMapView::mousePressEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  if (event->button() == Qt::LeftButton && impl_->cellAt(event->position(), &r, &c)) impl_->select(r, c, true);
  else event->ignore();
}

void TokenMapView::mouseDoubleClickEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  if (event->button() == Qt::LeftButton && impl_->cellAt(event->position(), &r, &c)) Q_EMIT cellActivated(r, c);
}

void TokenMapView::mouseMoveEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  if (impl_->cellAt(event->position(), &r, &c)) impl_->hover(r, c);
  else impl_->hover(-1, -1);
}

void TokenMapView::leaveEvent(QEvent*) { impl_->hover(-1, -1); }

void TokenMapView::wheelEvent(QWheelEvent* event) {
  const QPoint angle = event->angleDelta();
  const bool sideways = (event->modifiers() & Qt::ShiftModifier) || std::abs(angle.x()) > std::abs(angle.y()) ||
                        !impl_->down->isVisible();
  QScrollBar* bar = sideways ? impl_->across : impl_->down;
  const int delta = angle.y() != 0 ? angle.y() : angle.x();
  if (!bar->isVisible() || delta == 0) {
    event->ignore();  // the page around may scroll
    return;
  }
  bar->setValue(bar->value() - std::clamp(delta, -960, 960) * bar->singleStep() / 120);
  event->accept();
}

void TokenMapView::keyPressEvent(QKeyEvent* event) {
  Impl& d = *impl_;
  if (!d.has) return View::keyPressEvent(event);
  const TokenMapPlaces p = d.placesNow();
  const int64_t pageCols = std::max<int64_t>(1, static_cast<int64_t>(p.plot.width() / p.cellWidth) - 1);
  int64_t r = d.row, c = d.col;
  const bool none = r < 0;
  switch (event->key()) {
    case Qt::Key_Left: --c; break;
    case Qt::Key_Right: ++c; break;
    case Qt::Key_Up: --r; break;
    case Qt::Key_Down: ++r; break;
    case Qt::Key_Home: c = 0; break;
    case Qt::Key_End: c = d.data.cols - 1; break;
    case Qt::Key_PageUp: c -= pageCols; break;
    case Qt::Key_PageDown: c += pageCols; break;
    case Qt::Key_Return:
    case Qt::Key_Enter:
      if (none) return View::keyPressEvent(event);
      Q_EMIT cellActivated(d.row, d.col);
      return;
    default: return View::keyPressEvent(event);
  }
  if (none) {
    // The first step shows where one is: the last answer, as far as it is in sight.
    r = d.data.rows - 1;
    c = p.firstCol;
  }
  r = std::clamp<int64_t>(r, 0, d.data.rows - 1);
  c = std::clamp<int64_t>(c, 0, d.data.cols - 1);
  if (r == d.row && c == d.col) return;
  d.select(r, c, true);
  Q_EMIT hoverText(d.phrase(r, c));
}

void TokenMapView::focusInEvent(QFocusEvent* event) {
  View::focusInEvent(event);
  update();
}

void TokenMapView::focusOutEvent(QFocusEvent* event) {
  View::focusOutEvent(event);
  update();
}

void TokenMapView::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  impl_->layOut();
  // What is selected does not slip out of sight.
  if (impl_->row >= 0) impl_->ensureSeen(impl_->row, impl_->col);
  update();
}

void TokenMapView::changeEvent(QEvent* event) {
  if (event->type() == QEvent::FontChange || event->type() == QEvent::StyleChange) {
    if (impl_->has) impl_->measureTexts();
    impl_->layOut();
  }
  update();
  View::changeEvent(event);
}

bool TokenMapView::event(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return View::event(event);
  Impl& d = *impl_;
  const auto* help = static_cast<QHelpEvent*>(event);
  QString text;
  if (d.has) {
    const TokenMapPlaces p = d.placesNow();
    const QPointF at = help->pos();
    int64_t r = -1, c = -1;
    if (d.cellAt(at, &r, &c)) {
      text = d.details(r, c);
    } else if (const TokenQuantity* q = d.quantity(); q && p.bar.contains(at)) {
      text =
          toolTipText(q->help.isEmpty() ? q->name : labelWithUnit(q->name, q->unit) + QStringLiteral(": ") + q->help);
    } else if (p.header.contains(at)) {
      c = std::clamp<int64_t>(static_cast<int64_t>((at.x() - p.x0) / p.cellWidth), 0, d.data.cols - 1);
      text = axisPhrase(d.data.colAxis, d.data.cols, c, tr("column"));
      if (c < d.data.colNotes.size())
        text += QStringLiteral(", ") + d.data.colNotes.at(static_cast<qsizetype>(c)).left(200);
      text = toolTipText(text);
    } else if (at.y() >= p.plot.top() && at.y() < p.plot.bottom() && at.x() < p.plot.left()) {
      r = std::clamp<int64_t>(static_cast<int64_t>((at.y() - p.y0) / p.cellHeight), 0, d.data.rows - 1);
      text = toolTipText(axisLabel(d.data.rowAxis, d.data.rows, r) +
                         (axisKind(d.data.rowAxis, r) == LayerKind::kSoftmax     ? tr(" (softmax)")
                          : axisKind(d.data.rowAxis, r) == LayerKind::kRecurrent ? tr(" (recurrent)")
                                                                                 : QString()));
    }
  }
  if (text.isEmpty()) QToolTip::hideText();
  else QToolTip::showText(help->globalPos(), text, this);
  return true;
}

}  // namespace microtome::desktop
