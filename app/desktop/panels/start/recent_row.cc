#include "app/desktop/panels/start/recent_row.h"

#include <QDir>
#include <QKeyEvent>
#include <QPainter>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

QFont smaller(QFont font) {
  if (font.pointSizeF() > 0) font.setPointSizeF(std::max(6.5, font.pointSizeF() - 1));
  return font;
}

// "~/models/zoo": a home folder says nothing and takes room.
QString shortPath(const QString& path) {
  const QString home = QDir::homePath();
  return home.size() > 1 && path.startsWith(home + QLatin1Char('/')) ? QLatin1Char('~') + path.mid(home.size()) : path;
}

}  // namespace

RecentRow::RecentRow(const QString& name, const QString& path, QWidget* parent) : QAbstractButton(parent), path_(path) {
  setText(plainLine(name, 200));
  setFocusPolicy(Qt::StrongFocus);
  setCursor(Qt::PointingHandCursor);
  setAttribute(Qt::WA_Hover);
  setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  setToolTip(QStringLiteral("<qt>%1</qt>").arg(plainLine(QDir::toNativeSeparators(path), 2000).toHtmlEscaped()));
  setAccessibleName(tr("Open %1").arg(text()));
  setAccessibleDescription(plainLine(path, 500));
}

void RecentRow::setState(const QString& state, RowMark mark) {
  if (state == state_ && mark == mark_) return;
  state_ = state;
  mark_ = mark;
  update();
}

QSize RecentRow::sizeHint() const {
  const int high = QFontMetrics(font()).height() + QFontMetrics(smaller(font())).height() + kGrid + 2;
  return {30 * kGrid, high};
}

QSize RecentRow::minimumSizeHint() const { return {12 * kGrid, sizeHint().height()}; }

void RecentRow::paintEvent(QPaintEvent*) {
  const Theme& t = Theme::of(this);
  QPainter p(this);
  p.setRenderHint(QPainter::Antialiasing);
  const QRectF box = QRectF(rect()).adjusted(0.5, 0.5, -0.5, -0.5);
  if (isDown() || underMouse() || hasFocus()) {
    p.setPen(hasFocus() ? QPen(t.accent, 1) : QPen(Qt::NoPen));
    p.setBrush(isDown() ? t.accentSoft : underMouse() ? t.raised : QBrush(Qt::NoBrush));
    p.drawRoundedRect(box, 4, 4);
  }
  QRect r = rect().adjusted(kGrid, kGrid / 2, -kGrid, -kGrid / 2);
  const QFontMetrics nameMetrics(font());
  const QFont small = smaller(font());
  const QFontMetrics pathMetrics(small);
  QRect top(r.left(), r.top(), r.width(), nameMetrics.height());
  if (!state_.isEmpty()) {
    p.setFont(small);
    p.setPen(t.muted);
    const int wide = pathMetrics.horizontalAdvance(state_);
    p.drawText(top, Qt::AlignRight | Qt::AlignVCenter | Qt::TextSingleLine, state_);
    top.setRight(top.right() - wide - kGrid);
    if (mark_ != RowMark::kNone) {
      drawRowMark(p, QRectF(top.right() - kGrid, top.top(), kGrid + 2, top.height()), mark_, palette());
      top.setRight(top.right() - 2 * kGrid);
    }
  }
  p.setFont(font());
  p.setPen(t.text);
  p.drawText(top, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
             nameMetrics.elidedText(text(), Qt::ElideRight, top.width()));
  const QRect below(r.left(), r.top() + nameMetrics.height() + 2, r.width(), pathMetrics.height());
  p.setFont(small);
  p.setPen(t.muted);
  p.drawText(
      below, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
      pathMetrics.elidedText(plainLine(QDir::toNativeSeparators(shortPath(path_)), 2000), Qt::ElideMiddle, below.width()));
}

void RecentRow::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Return || event->key() == Qt::Key_Enter) click();
  else QAbstractButton::keyPressEvent(event);
}

}  // namespace microtome::desktop
