// row_delegate.h — rows of two lines for narrow lists and trees: a title with a time or a number at the right, and below
// it, muted, what it is about; a mark in the colours of the layer kinds, a tag, a state, a bar for what is under way.
#pragma once

#include <QStyledItemDelegate>

namespace microtome::desktop {

// What a row's model gives beside Qt::DisplayRole (the title).
struct RowRole {
  enum : int {
    kDetail = Qt::UserRole + 40,       // QString: the second line
    kRight,                            // QString: at the right of the first line, muted
    kState,                            // QString: at the right of the second line
    kTone,                             // int, a RowTone: the state's colour
    kMark,                             // int, a RowMark
    kTag,                              // QString: a small chip at the right of the second line ("plug-in")
    kNote,                             // bool: a small sheet before the state
    kProgress,                         // double 0…1: a bar along the bottom; invalid: none
    kHeading,                          // bool: a heading of one line
  };
};
enum class RowTone { kPlain, kGood, kWarning, kError, kAccent };
// Of a model: the kinds of its layers. kUnknown: a ring without a colour.
enum class RowMark { kNone, kSoftmax, kRecurrent, kBoth, kUnknown };

// A dot of 8 pixels in the theme's colours, centred in `rect`.
void drawRowMark(QPainter& painter, const QRectF& rect, RowMark mark, const QPalette& palette);

class RowDelegate : public QStyledItemDelegate {
  Q_OBJECT
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  void paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const override;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override;
};

}  // namespace microtome::desktop
