#include "app/desktop/views/row_delegate.h"

#include <QApplication>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

QFont smaller(QFont font) {
  if (font.pointSizeF() > 0) font.setPointSizeF(std::max(6.0, font.pointSizeF() * 0.92));
  return font;
}

QColor toneColour(RowTone tone, const Theme& t) {
  switch (tone) {
    case RowTone::kGood: return t.good;
    case RowTone::kWarning: return t.warning;
    case RowTone::kError: return t.error;
    case RowTone::kAccent: return t.accent;
    default: return t.muted;
  }
}

// Draws at the right end of `rect`, at most `share` of it, and takes what it needed away from it.
void drawRight(QPainter& p, QRect& rect, const QString& text, double share = 0.6) {
  if (text.isEmpty() || rect.width() < kGrid) return;
  const QFontMetrics m = p.fontMetrics();
  const QString shown = m.elidedText(text, Qt::ElideRight, static_cast<int>(rect.width() * share));
  const int width = m.horizontalAdvance(shown);
  p.drawText(rect, Qt::AlignRight | Qt::AlignVCenter | Qt::TextSingleLine, shown);
  rect.setRight(rect.right() - width - kGrid);
}

// A sheet with a folded corner: glyphs for it are missing in many fonts.
void drawSheet(QPainter& p, QRect& rect, const QColor& colour) {
  const double h = 10, w = 8;
  const QRectF box(rect.right() - w + 0.5, rect.center().y() - h / 2 + 0.5, w - 1, h - 1);
  p.setPen(QPen(colour, 1));
  p.setBrush(Qt::NoBrush);
  const double fold = 3;
  const QPointF outline[] = {
      box.topLeft(), {box.right() - fold, box.top()}, {box.right(), box.top() + fold}, box.bottomRight(), box.bottomLeft()};
  p.drawPolygon(outline, 5);
  for (double y : {0.42, 0.68})
    p.drawLine(QPointF(box.left() + 2, box.top() + y * box.height()),
               QPointF(box.right() - 2, box.top() + y * box.height()));
  rect.setRight(static_cast<int>(box.left()) - kGrid);
}

}  // namespace

void drawRowMark(QPainter& p, const QRectF& rect, RowMark mark, const QPalette& palette) {
  if (mark == RowMark::kNone) return;
  const Theme& t = Theme::of(palette);
  const QRectF dot(rect.center().x() - 4, rect.center().y() - 4, 8, 8);
  p.save();
  p.setRenderHint(QPainter::Antialiasing);
  p.setPen(Qt::NoPen);
  if (mark == RowMark::kUnknown) {
    p.setPen(QPen(t.muted, 1.2));
    p.setBrush(Qt::NoBrush);
    p.drawEllipse(dot.adjusted(0.6, 0.6, -0.6, -0.6));
  } else if (mark == RowMark::kBoth) {
    p.setBrush(t.softmax);
    p.drawPie(dot, 90 * 16, 180 * 16);
    p.setBrush(t.recurrent);
    p.drawPie(dot, 270 * 16, 180 * 16);
  } else {
    p.setBrush(t.layerColour(mark == RowMark::kRecurrent));
    p.drawEllipse(dot);
  }
  p.restore();
}

QSize RowDelegate::sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const {
  const int line = QFontMetrics(option.font).height();
  if (index.data(RowRole::kHeading).toBool()) return {10 * kGrid, line + 3 * kGrid / 2};
  const bool two = !index.data(RowRole::kDetail).toString().isEmpty() || !index.data(RowRole::kState).toString().isEmpty() ||
                   index.data(RowRole::kProgress).isValid();
  return {10 * kGrid, two ? line + QFontMetrics(smaller(option.font)).height() + kGrid : line + kGrid};
}

void RowDelegate::paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const {
  QPainter& p = *painter;
  const Theme& t = Theme::of(option.palette);
  const bool selected = option.state & QStyle::State_Selected;
  p.save();
  p.setClipRect(option.rect);
  if (selected) p.fillRect(option.rect, t.accentSoft);
  else if (option.state & QStyle::State_MouseOver) p.fillRect(option.rect, t.raised);
  if (option.state & QStyle::State_HasFocus) p.fillRect(QRect(option.rect.topLeft(), QSize(2, option.rect.height())), t.accent);

  const bool enabled = index.flags() & Qt::ItemIsEnabled;
  QFont first = option.font;
  const bool heading = index.data(RowRole::kHeading).toBool();
  first.setBold(heading);
  QRect rect = option.rect.adjusted(kGrid, kGrid / 2, -kGrid, -kGrid / 2);
  QRect line = rect;
  const QString detail = index.data(RowRole::kDetail).toString(), state = index.data(RowRole::kState).toString();
  const QVariant progress = index.data(RowRole::kProgress);
  const bool two = !heading && (!detail.isEmpty() || !state.isEmpty() || progress.isValid());
  if (two) line.setHeight(QFontMetrics(option.font).height());

  // On a tinted row muted grey would fall below a readable contrast.
  const QColor quiet = selected ? t.text : t.muted;
  p.setFont(smaller(option.font));
  p.setPen(quiet);
  drawRight(p, line, index.data(RowRole::kRight).toString());
  p.setFont(first);
  p.setPen(enabled ? (heading ? quiet : t.text) : t.muted);
  if (heading) {
    // Which way it folds.
    const QPointF c(line.left() + 4, line.center().y() + 0.5);
    const bool open = option.state & QStyle::State_Open;
    const QPointF down[] = {{c.x() - 4, c.y() - 2}, {c.x() + 4, c.y() - 2}, {c.x(), c.y() + 3}},
                  right[] = {{c.x() - 2, c.y() - 4}, {c.x() - 2, c.y() + 4}, {c.x() + 3, c.y()}};
    p.setRenderHint(QPainter::Antialiasing);
    p.setBrush(quiet);
    p.setPen(Qt::NoPen);
    p.drawPolygon(open ? down : right, 3);
    p.setPen(quiet);
    line.setLeft(line.left() + 2 * kGrid);
  }
  const QString title = index.data(Qt::DisplayRole).toString();
  p.drawText(line, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, p.fontMetrics().elidedText(title, Qt::ElideRight, line.width()));

  if (two) {
    p.setFont(smaller(option.font));
    QRect below(rect.left(), line.bottom() + 1, rect.width(), p.fontMetrics().height());
    const RowTone tone = static_cast<RowTone>(index.data(RowRole::kTone).toInt());
    p.setPen(selected && tone == RowTone::kPlain ? quiet : toneColour(tone, t));
    drawRight(p, below, state, 0.7);
    if (const QString tag = index.data(RowRole::kTag).toString(); !tag.isEmpty()) {
      const int width = std::min(p.fontMetrics().horizontalAdvance(tag) + kGrid, below.width() / 2);
      const QRect chip(below.right() - width, below.top(), width, below.height());
      p.setRenderHint(QPainter::Antialiasing);
      p.setPen(Qt::NoPen);
      p.setBrush(selected ? t.surface : t.raised);
      p.drawRoundedRect(chip, 4, 4);
      p.setPen(t.muted);
      p.drawText(chip, Qt::AlignCenter, p.fontMetrics().elidedText(tag, Qt::ElideRight, chip.width() - 4));
      below.setRight(chip.left() - kGrid);
    }
    p.setRenderHint(QPainter::Antialiasing);
    if (index.data(RowRole::kNote).toBool()) drawSheet(p, below, t.accent);
    const RowMark mark = static_cast<RowMark>(index.data(RowRole::kMark).toInt());
    if (mark != RowMark::kNone) {
      drawRowMark(p, QRectF(below.left(), below.top(), 8, below.height()), mark, option.palette);
      below.setLeft(below.left() + 8 + kGrid / 2);
    }
    p.setPen(quiet);
    p.drawText(below, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
               p.fontMetrics().elidedText(detail, Qt::ElideRight, below.width()));
    if (progress.isValid()) {
      const double value = progress.toDouble();
      const double share = std::isfinite(value) ? std::clamp(value, 0.0, 1.0) : 0;
      const QRectF bar(rect.left(), option.rect.bottom() - 2.5, rect.width(), 2);
      p.fillRect(bar, t.faint);
      p.fillRect(QRectF(bar.left(), bar.top(), bar.width() * share, bar.height()), tone == RowTone::kError ? t.error : t.accent);
    }
  }
  p.restore();
}

}  // namespace microtome::desktop
