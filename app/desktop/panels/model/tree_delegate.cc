#include "app/desktop/panels/model/tree_delegate.h"

#include <QPainter>
#include <algorithm>

#include "app/desktop/panels/model/model_tree.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {

QSize ModelRowDelegate::sizeHint(const QStyleOptionViewItem& option, const QModelIndex&) const {
  // One height for all rows: the tree then never measures thousands of them.
  return {10 * kGrid, std::max(3 * kGrid, QFontMetrics(option.font).height() + kGrid)};
}

void ModelRowDelegate::paint(QPainter* painter, const QStyleOptionViewItem& given, const QModelIndex& index) const {
  QStyleOptionViewItem option = given;
  initStyleOption(&option, index);
  const Theme& t = Theme::of(option.palette);
  if (option.state & QStyle::State_Selected) painter->fillRect(option.rect, t.accentSoft);
  else if (option.state & QStyle::State_MouseOver) painter->fillRect(option.rect, t.raised);
  if (option.state & QStyle::State_HasFocus) {
    painter->setPen(t.accent);
    painter->drawRect(option.rect.adjusted(0, 0, -1, -1));
  }
  const auto kind = static_cast<ModelTree::Kind>(index.data(ModelTree::kKindRole).toInt());
  const auto mark = static_cast<RowMark>(index.data(ModelTree::kMarkRole).toInt());
  const bool quiet = index.data(ModelTree::kQuietRole).toBool() || kind == ModelTree::Kind::kRemark;
  const QString text = index.data(Qt::DisplayRole).toString(), aside = index.data(ModelTree::kAsideRole).toString();
  const QString detail = index.data(ModelTree::kDetailRole).toString();

  painter->save();
  QRect r = option.rect.adjusted(kGrid / 2, 0, -kGrid, 0);
  if (mark != RowMark::kNone) {
    drawRowMark(*painter, QRectF(r.left(), r.top(), kGrid + 2, r.height()), mark, option.palette);
    r.setLeft(r.left() + 2 * kGrid);
  }
  QFont font = option.font;
  if (kind == ModelTree::Kind::kModel) font.setWeight(QFont::DemiBold);
  if (kind == ModelTree::Kind::kRemark) font.setItalic(true);
  const QFontMetrics metrics(font), plain(option.font);
  // A value is what a fact is about; of everything else the name comes first.
  const bool fact = kind == ModelTree::Kind::kFact;
  int left = r.left();
  const auto put = [&](const QString& s, const QFontMetrics& m, const QFont& f, const QColor& colour) {
    const int room = r.right() - left;
    if (s.isEmpty() || room < 2 * kGrid) return;
    const QString shown = m.elidedText(s, Qt::ElideRight, room);
    painter->setFont(f);
    painter->setPen(colour);
    painter->drawText(QRect(left, r.top(), room, r.height()), Qt::AlignVCenter | Qt::AlignLeft | Qt::TextSingleLine, shown);
    left += m.horizontalAdvance(shown) + kGrid;
  };
  put(text, metrics, font, fact || quiet ? t.muted : t.text);
  const QStringList shorter = index.data(ModelTree::kShorterRole).toStringList();
  // A block's sizes are short and said nowhere else in the row.
  const QRect whole = r;
  if (kind == ModelTree::Kind::kBlock && !shorter.isEmpty())
    r.setRight(r.right() - plain.horizontalAdvance(shorter.back()) - kGrid);
  put(aside, plain, option.font, mark == RowMark::kRecurrent ? t.recurrent : t.softmax);
  r = whole;
  const int room = r.right() - left;
  if (!detail.isEmpty() && room > 3 * kGrid) {
    painter->setFont(option.font);
    painter->setPen(fact ? t.text : t.muted);
    QString shown = detail;
    for (const QString& less : shorter) {
      if (plain.horizontalAdvance(shown) <= room) break;
      shown = less;
    }
    shown = plain.elidedText(shown, fact ? Qt::ElideMiddle : Qt::ElideRight, room);
    painter->drawText(QRect(left, r.top(), room, r.height()), Qt::AlignVCenter | Qt::AlignRight | Qt::TextSingleLine,
                      shown);
  }
  painter->restore();
}

}  // namespace microtome::desktop
