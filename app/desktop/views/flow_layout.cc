#include "app/desktop/views/flow_layout.h"

#include <QEvent>
#include <QWidget>
#include <algorithm>

namespace microtome::desktop {

FlowLayout::FlowLayout(QWidget* parent, int gap, int lineGap) : QLayout(parent), gap_(gap), lineGap_(lineGap) {
  setContentsMargins(0, 0, 0, 0);
}

FlowLayout::~FlowLayout() {
  qDeleteAll(items_);
}

void FlowLayout::addItem(QLayoutItem* item) { items_.append(item); }

QLayoutItem* FlowLayout::takeAt(int index) {
  return index >= 0 && index < items_.size() ? items_.takeAt(index) : nullptr;
}

int FlowLayout::heightForWidth(int width) const { return arrange(QRect(0, 0, width, 0), true); }

QSize FlowLayout::sizeHint() const {
  // All in one line.
  const QMargins m = contentsMargins();
  int width = 0, height = 0;
  for (QLayoutItem* item : items_) {
    if (item->isEmpty()) continue;
    width += item->sizeHint().width() + (width ? gap_ : 0);
    height = std::max(height, item->sizeHint().height());
  }
  return QSize(width + m.left() + m.right(), height + m.top() + m.bottom());
}

QSize FlowLayout::minimumSize() const {
  const QMargins m = contentsMargins();
  QSize size;
  for (QLayoutItem* item : items_)
    if (!item->isEmpty()) size = size.expandedTo(item->minimumSize());
  return size + QSize(m.left() + m.right(), m.top() + m.bottom());
}

void FlowLayout::setGeometry(const QRect& rect) {
  QLayout::setGeometry(rect);
  arrange(rect, false);
}

int FlowLayout::arrange(const QRect& rect, bool dry) const {
  const QMargins m = contentsMargins();
  const QRect area = rect.marginsRemoved(m);
  int y = area.y(), i = 0;
  while (i < items_.size()) {
    // A line at a time, so that controls of unequal height stand on one middle.
    int x = 0, height = 0, end = i;
    for (; end < items_.size(); ++end) {
      if (items_[end]->isEmpty()) continue;
      const QSize hint = items_[end]->sizeHint();
      if (x > 0 && x + gap_ + hint.width() > area.width()) break;
      x += hint.width() + (x > 0 ? gap_ : 0);
      height = std::max(height, hint.height());
    }
    for (x = area.x(); i < end; ++i) {
      if (items_[i]->isEmpty()) continue;
      const QSize hint = items_[i]->sizeHint().boundedTo(QSize(std::max(area.width(), 1), height));
      if (!dry) items_[i]->setGeometry(QRect(QPoint(x, y + (height - hint.height()) / 2), hint));
      x += hint.width() + gap_;
    }
    y += height + (height && i < items_.size() ? lineGap_ : 0);
  }
  return y - rect.y() + m.bottom();
}

namespace {

class WheelGuard : public QObject {
 public:
  using QObject::QObject;
  bool eventFilter(QObject* object, QEvent* event) override {
    if (event->type() == QEvent::Wheel && !static_cast<QWidget*>(object)->hasFocus()) {
      event->ignore();                 // goes on to the parent, which may scroll
      return true;
    }
    return false;
  }
};

}  // namespace

void guardWheel(QWidget* control) {
  control->setFocusPolicy(Qt::StrongFocus);
  control->installEventFilter(new WheelGuard(control));
}

}  // namespace microtome::desktop
