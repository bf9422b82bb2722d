#include "app/desktop/panels/prompts/next_token_view.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "core/store/result_json.h"

namespace microtome::desktop {
namespace {

constexpr int kGlyph = 2 * kGrid;      // room for ✓ and ✗
constexpr int kLogitFrom = 26 * kGrid;  // a column of this width has room for logits
constexpr int kNarrow = 15 * kGrid;    // below this the sign of per cent stands in the head only
constexpr int kColumnGap = 2 * kGrid;

bool holds(const std::vector<int64_t>& ids, int64_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

QString percentIn(int width, double probability) {
  QString text = percentText(probability);
  return width < kNarrow ? text.remove(QStringLiteral(" %")) : text;
}

double fraction(double probability) { return std::isfinite(probability) ? std::clamp(probability, 0.0, 1.0) : 0.0; }

}  // namespace

QString percentText(double probability) {
  if (!std::isfinite(probability)) return QStringLiteral("–");
  if (probability > 0 && probability < 1e-4) return QStringLiteral("< 0.01 %");
  // Two digits behind the point, one from ten on: what stands below each other lines up.
  return QStringLiteral("%1 %").arg(probability * 100, 0, 'f', probability < 0.09995 ? 2 : 1);
}

std::vector<AskedTokens> rankAsked(const app::NextTokens& n, size_t right) {
  std::vector<AskedTokens> out;
  for (const bool isRight : {true, false}) {
    const size_t from = isRight ? 0 : std::min(right, n.asked.size()),
                 to = isRight ? std::min(right, n.asked.size()) : n.asked.size();
    if (from == to) continue;
    AskedTokens a;
    a.right = isRight;
    a.count = to - from;
    a.best = n.asked[from];
    for (size_t i = from; i < to; ++i) {
      a.probability += n.asked[i].probability;
      if (n.asked[i].logit > a.best.logit) a.best = n.asked[i];
    }
    for (size_t i = 0; i < n.top.size() && a.rank == 0; ++i)
      if (n.top[i].id == a.best.id) a.rank = static_cast<int64_t>(i) + 1;
    out.push_back(a);
  }
  return out;
}

NextTokenView::NextTokenView(QWidget* parent) : View(parent), bar_(new QScrollBar(Qt::Vertical, this)) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Next tokens"));
  setTitle(tr("next tokens"));
  bar_->hide();
  connect(bar_, &QScrollBar::valueChanged, this, [this] { update(); });
}

void NextTokenView::setColumns(std::vector<NextTokenColumn> columns) {
  columns_ = std::move(columns);
  if (current_.column >= static_cast<int>(columns_.size())) current_ = {};
  QStringList said;
  for (const NextTokenColumn& c : columns_)
    if (!c.top.empty())
      said << tr("%1 after %2: %3")
                  .arg(plainLine(c.model, 60), c.prompt, quotedToken(QString::fromStdString(c.top.front().text), 40));
  setAccessibleDescription(said.join(QStringLiteral("; ")));
  fitBar();
  updateGeometry();
  update();
}

void NextTokenView::setHint(const QString& hint) {
  hint_ = hint;
  update();
}

void NextTokenView::setStale(bool stale) {
  if (stale == stale_) return;
  stale_ = stale;
  update();
}

// ---- measures

int NextTokenView::lineHeight() const { return std::max(QFontMetrics(monoFont()).height() + 3, 2 * kGrid + 2); }

int NextTokenView::headHeight() const { return std::max(lineHeight(), 3 * kGrid); }

int NextTokenView::askedLines() const {
  size_t n = 0;
  for (const NextTokenColumn& c : columns_) n = std::max(n, c.asked.size());
  return static_cast<int>(n);
}

int NextTokenView::listHeight() const {
  const int below = askedLines() > 0 ? askedLines() * lineHeight() + 2 * kListGap : 0;
  // Whole lines only: half a token is none.
  const int lines = (height() - headHeight() - kListGap - below) / lineHeight();
  return std::clamp(lines, 1, kShown) * lineHeight();
}

int NextTokenView::askedTop() const { return headHeight() + kListGap + listHeight() + 2 * kListGap; }

QSize NextTokenView::sizeHint() const {
  return {std::max(1, static_cast<int>(columns_.size())) * 20 * kGrid, headHeight() + 11 * lineHeight()};
}

QSize NextTokenView::minimumSizeHint() const {
  return {std::max(1, static_cast<int>(columns_.size())) * 14 * kGrid, headHeight() + 3 * lineHeight()};
}

void NextTokenView::fitBar() {
  const int all = kShown * lineHeight(), seen = listHeight();
  const bool needed = !columns_.empty() && all > seen;
  bar_->setVisible(needed);
  bar_->setRange(0, needed ? all - seen : 0);
  bar_->setPageStep(std::max(1, seen));
  bar_->setSingleStep(lineHeight());
  const int wide = bar_->sizeHint().width();
  bar_->setGeometry(width() - wide, headHeight() + kListGap, wide, seen);
  if (!corner_) return;
  const QSize size = corner_->sizeHint();
  corner_->setGeometry(width() - size.width(), (headHeight() - size.height()) / 2, size.width(), size.height());
  corner_->setVisible(!columns_.empty());
}

void NextTokenView::setCorner(QWidget* corner) {
  corner_ = corner;
  corner_->setParent(this);
  fitBar();
}

// ---- painting

void NextTokenView::paintRow(QPainter& p, const QRect& r, const app::NextToken& token, int role) const {
  const Theme& t = Theme::of(this);
  const QRect body = r.adjusted(kGlyph, 0, 0, 0);
  p.setPen(Qt::NoPen);
  p.setBrush(t.accentSoft);
  p.drawRoundedRect(
      QRectF(body.left(), body.top() + 1, std::max(2.0, body.width() * fraction(token.probability)), body.height() - 2), 3,
      3);
  if (role != 0) {
    p.setFont(font());
    p.setPen(role > 0 ? t.good : t.error);
    p.drawText(QRect(r.left(), r.top(), kGlyph, r.height()), Qt::AlignLeft | Qt::AlignVCenter,
               role > 0 ? QStringLiteral("✓") : QStringLiteral("✗"));
  }
  const QFontMetrics m(font());
  const QString share = percentIn(r.width(), token.probability);
  const int percent = m.horizontalAdvance(share) + kGrid;
  const bool logits = r.width() >= kLogitFrom;
  const int logit = logits ? m.horizontalAdvance(QStringLiteral("−000.00")) + kGrid : 0;
  p.setFont(font());
  p.setPen(t.text);
  p.drawText(body.adjusted(0, 0, -logit - kGrid / 2, 0), Qt::AlignRight | Qt::AlignVCenter, share);
  if (logits) {
    p.setPen(t.muted);
    p.drawText(body.adjusted(0, 0, -kGrid / 2, 0), Qt::AlignRight | Qt::AlignVCenter, numberText(token.logit));
  }
  const QFont mono = monoFont();
  p.setFont(mono);
  p.setPen(t.text);
  const int room = body.width() - kGrid / 2 - percent - logit;
  const QString text = visibleToken(QString::fromStdString(token.text.substr(0, 200)));
  p.drawText(QRect(body.left() + kGrid / 2, body.top(), room, body.height()),
             Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
             QFontMetrics(mono).elidedText(text, Qt::ElideRight, room));
}

void NextTokenView::paintAsked(QPainter& p, const QRect& r, const AskedTokens& asked, int64_t looked) const {
  const Theme& t = Theme::of(this);
  p.setFont(font());
  p.setPen(asked.right ? t.good : t.error);
  p.drawText(QRect(r.left(), r.top(), kGlyph, r.height()), Qt::AlignLeft | Qt::AlignVCenter,
             asked.right ? QStringLiteral("✓") : QStringLiteral("✗"));
  const QFontMetrics m(font());
  const QString rank = asked.rank > 0 ? QStringLiteral("#%1").arg(asked.rank) : QStringLiteral("> #%1").arg(looked);
  const QString right = QStringLiteral("%1  %2").arg(rank, percentIn(r.width(), asked.probability));
  const int logit = r.width() >= kLogitFrom ? m.horizontalAdvance(QStringLiteral("−000.00")) + kGrid : 0;
  if (logit > 0) {
    p.setPen(t.muted);
    p.drawText(r.adjusted(0, 0, -kGrid / 2, 0), Qt::AlignRight | Qt::AlignVCenter, numberText(asked.best.logit));
  }
  p.setPen(t.text);
  p.drawText(r.adjusted(kGlyph, 0, -logit - kGrid / 2, 0), Qt::AlignRight | Qt::AlignVCenter, right);
  const int room = r.width() - kGlyph - kGrid * 3 / 2 - m.horizontalAdvance(right) - logit;
  if (room < 3 * kGrid) return;        // rank and probability come first; the token is in the list or in the tooltip
  const QFont mono = monoFont();
  p.setFont(mono);
  const QString text = asked.count > 1 ? tr("all %1").arg(asked.count)
                                       : visibleToken(QString::fromStdString(asked.best.text.substr(0, 200)));
  if (asked.count > 1) p.setFont(font());
  p.drawText(QRect(r.left() + kGlyph + kGrid / 2, r.top(), room, r.height()),
             Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
             QFontMetrics(p.font()).elidedText(text, Qt::ElideRight, room));
}

void NextTokenView::paintHead(QPainter& p, const QRect& area, const NextTokenColumn& c) const {
  const Theme& t = Theme::of(this);
  QRect head = area;
  if (c.mark != RowMark::kNone) {
    drawRowMark(p, QRectF(head.left(), head.top(), kGrid + 2, head.height()), c.mark, palette());
    head.setLeft(head.left() + kGlyph + kGrid / 2);
  }
  QFont bold = font();
  bold.setWeight(QFont::DemiBold);
  const QFontMetrics m(font()), b(bold);
  // Which prompt matters where both are shown; then the mark stands for the model where the name has no room.
  const bool both = std::any_of(columns_.begin(), columns_.end(),
                                [&](const NextTokenColumn& o) { return o.prompt != columns_.front().prompt; });
  const QString name = plainLine(c.model, 100), prompt = area.width() < kNarrow ? tr("%1, %").arg(c.prompt) : c.prompt;
  const int wide = both ? m.horizontalAdvance(prompt) + kGrid : 0;
  if (!both || b.horizontalAdvance(name) + wide <= head.width()) {
    p.setFont(bold);
    p.setPen(t.text);
    p.drawText(head, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
               b.elidedText(name, Qt::ElideMiddle, head.width()));
    head.setLeft(head.left() + b.horizontalAdvance(name) + kGrid);
  }
  if (!both) return;
  p.setFont(font());
  p.setPen(t.muted);
  p.drawText(head, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
             m.elidedText(prompt, Qt::ElideRight, head.width()));
}

void NextTokenView::paintColumn(QPainter& p, int left, int width, int listHeight, int column, int offset, bool live) const {
  const Theme& t = Theme::of(this);
  const NextTokenColumn& c = columns_[static_cast<size_t>(column)];
  const int line = lineHeight();
  const QRect list(left, headHeight() + kListGap, width, listHeight);
  if (!c.remark.isEmpty()) {
    p.setFont(font());
    p.setPen(t.muted);
    p.drawText(list, Qt::AlignLeft | Qt::AlignTop | Qt::TextWordWrap, c.remark);
    return;
  }
  p.save();
  p.setClipRect(list, Qt::IntersectClip);
  for (int i = 0; i < std::min(kShown, static_cast<int>(c.top.size())); ++i) {
    const app::NextToken& token = c.top[static_cast<size_t>(i)];
    const QRect r(list.left(), list.top() + i * line - offset, list.width(), line);
    if (!r.intersects(list)) continue;
    paintRow(p, r, token, holds(c.rightIds, token.id) ? 1 : holds(c.wrongIds, token.id) ? -1 : 0);
    if (!live || !hasFocus() || current_.column != column || current_.row != i) continue;
    p.setPen(t.accent);
    p.setBrush(Qt::NoBrush);
    p.drawRoundedRect(QRectF(r).adjusted(kGlyph + 0.5, 0.5, -0.5, -0.5), 3, 3);
  }
  p.restore();
  if (c.asked.empty()) return;
  const int top = list.bottom() + 1 + 2 * kListGap;
  p.setPen(t.faint);
  p.drawLine(QPointF(left, top - kListGap + 0.5), QPointF(left + width, top - kListGap + 0.5));
  for (size_t i = 0; i < c.asked.size(); ++i)
    paintAsked(p, QRect(left, top + static_cast<int>(i) * line, width, line), c.asked[i], c.looked);
}

void NextTokenView::paint(QPainter& p, int width, int listHeight, int offset, bool live) const {
  const int n = static_cast<int>(columns_.size());
  p.setRenderHint(QPainter::Antialiasing);
  const int each = std::max(1, (width - (n - 1) * kColumnGap) / n);
  for (int i = 0; i < n; ++i) {
    const int left = i * (each + kColumnGap);
    // The corner control stands where the last head ends.
    const int taken = live && corner_ && i == n - 1 ? corner_->width() - (this->width() - width) + kGrid / 2 : 0;
    paintHead(p, QRect(left, 0, each - std::max(0, taken), headHeight()), columns_[static_cast<size_t>(i)]);
    paintColumn(p, left, each, listHeight, i, offset, live);
  }
}

void NextTokenView::paintEvent(QPaintEvent*) {
  QPainter p(this);
  if (columns_.empty()) {
    p.setPen(Theme::of(this).muted);
    p.drawText(rect(), Qt::AlignCenter | Qt::TextWordWrap, hint_);
    return;
  }
  if (stale_) p.setOpacity(0.45);
  paint(p, width() - (bar_->isVisible() ? bar_->width() + kGrid / 2 : 0), listHeight(), bar_->value(), true);
}

QSizeF NextTokenView::pictureSize() const {
  const int below = askedLines() > 0 ? askedLines() * lineHeight() + 2 * kListGap : 0;
  return QSizeF(std::max(width(), static_cast<int>(columns_.size()) * 26 * kGrid),
                headHeight() + kListGap + kShown * lineHeight() + below);
}

void NextTokenView::drawPicture(QPainter& painter, const QSizeF& size) const {
  if (!columns_.empty()) paint(painter, static_cast<int>(size.width()), kShown * lineHeight(), 0, false);
}

// ---- words

QString NextTokenView::describe(int column, int row) const {
  if (column < 0 || column >= static_cast<int>(columns_.size()) || row < 0) return {};
  const NextTokenColumn& c = columns_[static_cast<size_t>(column)];
  const QString where = tr("%1 after %2").arg(plainLine(c.model, 60), c.prompt);
  const auto token = [](const app::NextToken& n) { return quotedToken(QString::fromStdString(n.text), 60); };
  if (row >= kShown) {
    const auto i = static_cast<size_t>(row - kShown);
    if (i >= c.asked.size()) return {};
    const AskedTokens& a = c.asked[i];
    const QString rank = a.rank > 0 ? tr("rank %1").arg(a.rank) : tr("behind the first %1").arg(c.looked);
    const QString what = a.right ? tr("right answer") : tr("wrong answer");
    const QString many =
        a.count > 1 ? tr(" (best of %1; together %2)").arg(a.count).arg(percentText(a.probability)) : QString();
    return tr("%1: %2 %3, id %4, %5, probability %6, logit %7")
        .arg(where, what, token(a.best) + many, QString::number(a.best.id), rank, percentText(a.best.probability),
             numberText(a.best.logit));
  }
  if (row >= static_cast<int>(c.top.size())) return {};
  const app::NextToken& n = c.top[static_cast<size_t>(row)];
  return tr("%1: %2, id %3, rank %4, probability %5, logit %6; entropy of all %7 nats")
      .arg(where, token(n), QString::number(n.id), QString::number(row + 1), percentText(n.probability),
           numberText(n.logit), numberText(c.entropy));
}

QString NextTokenView::csv() const {
  Table table;
  table.columns = {{"model", "", ""}, {"prompt", "", ""}, {"role", "", ""},        {"rank", "", ""},
                   {"id", "", ""},    {"token", "", ""},  {"probability", "", ""}, {"logit", "logits", ""}};
  for (const NextTokenColumn& c : columns_) {
    const auto add = [&](const char* role, const app::NextToken& n, int64_t rank) {
      table.rows.push_back({c.model.toStdString(), c.prompt.toStdString(), std::string(role),
                            rank > 0 ? Cell(rank) : Cell(), n.id, n.text, n.probability, n.logit});
    };
    for (int i = 0; i < std::min(kShown, static_cast<int>(c.top.size())); ++i)
      add("top", c.top[static_cast<size_t>(i)], i + 1);
    for (const AskedTokens& a : c.asked) add(a.right ? "right" : "wrong", a.best, a.rank);
  }
  return QString::fromStdString(table_to_csv(table));
}

// ---- mouse and keys

NextTokenView::Place NextTokenView::placeAt(const QPoint& at) const {
  const int n = static_cast<int>(columns_.size());
  if (n == 0) return {};
  const int wide = width() - (bar_->isVisible() ? bar_->width() + kGrid / 2 : 0);
  const int each = std::max(1, (wide - (n - 1) * kColumnGap) / n), column = at.x() / (each + kColumnGap);
  const int line = lineHeight(), top = headHeight() + kListGap;
  if (at.x() < 0 || column >= n || at.x() >= wide) return {};
  if (const int below = at.y() - askedTop(); below >= 0 && below < askedLines() * line)
    return {column, kShown + below / line};
  if (at.y() < top || at.y() >= top + listHeight()) return {};
  const int row = (at.y() - top + bar_->value()) / line;
  return row < kShown ? Place{column, row} : Place{};
}

void NextTokenView::setCurrent(Place place) {
  current_ = place;
  const int line = lineHeight();
  if (place.row >= 0 && place.row < kShown) {
    if (place.row * line < bar_->value()) bar_->setValue(place.row * line);
    else if ((place.row + 1) * line > bar_->value() + listHeight()) bar_->setValue((place.row + 1) * line - listHeight());
  }
  Q_EMIT hoverText(describe(place.column, place.row));
  update();
}

bool NextTokenView::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const QPoint at = static_cast<QHelpEvent*>(event)->pos();
    const Place place = placeAt(at);
    const QString text = describe(place.column, place.row);
    if (text.isEmpty()) QToolTip::hideText();
    else QToolTip::showText(static_cast<QHelpEvent*>(event)->globalPos(), tipText(text), this);
    return true;
  }
  if (event->type() == QEvent::FocusIn || event->type() == QEvent::FocusOut) update();
  return View::event(event);
}

void NextTokenView::mouseMoveEvent(QMouseEvent* event) {
  const Place place = placeAt(event->position().toPoint());
  Q_EMIT hoverText(describe(place.column, place.row));
}

void NextTokenView::mousePressEvent(QMouseEvent* event) {
  if (event->button() != Qt::LeftButton) return View::mousePressEvent(event);
  if (const Place place = placeAt(event->position().toPoint()); place.row >= 0) setCurrent(place);
}

void NextTokenView::leaveEvent(QEvent* event) {
  View::leaveEvent(event);
  Q_EMIT hoverText(QString());
}

void NextTokenView::wheelEvent(QWheelEvent* event) {
  if (bar_->isVisible()) QCoreApplication::sendEvent(bar_, event);
  else View::wheelEvent(event);
}

void NextTokenView::keyPressEvent(QKeyEvent* event) {
  const int n = static_cast<int>(columns_.size());
  Place to = current_.column < 0 ? Place{0, -1} : current_;
  switch (event->key()) {
    case Qt::Key_Up: --to.row; break;
    case Qt::Key_Down: ++to.row; break;
    case Qt::Key_Left: --to.column; break;
    case Qt::Key_Right: ++to.column; break;
    case Qt::Key_Home: to.row = 0; break;
    case Qt::Key_End: to.row = kShown - 1; break;
    default: return View::keyPressEvent(event);
  }
  if (n > 0) setCurrent({std::clamp(to.column, 0, n - 1), std::clamp(to.row, 0, kShown - 1)});
}

void NextTokenView::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  fitBar();
}

}  // namespace microtome::desktop
