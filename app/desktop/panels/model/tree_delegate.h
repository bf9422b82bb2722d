// tree_delegate.h — a row of the model tree: a mark in the layer's colour, the name, the mixer in the layer's colour, and at
// the right, muted, shape or number. What does not fit is elided, the detail first.
#pragma once

#include <QStyledItemDelegate>

namespace microtome::desktop {

class ModelRowDelegate : public QStyledItemDelegate {
  Q_OBJECT
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  void paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const override;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override;
};

}  // namespace microtome::desktop
