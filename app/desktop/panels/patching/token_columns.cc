#include "app/desktop/panels/patching/token_columns.h"

#include <QHelpEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "core/store/result_json.h"

namespace microtome::desktop {
namespace {

constexpr int kGlyph = 2 * kGrid, kColumnGap = 2 * kGrid, kRuleGap = kGrid / 2;
constexpr int kChipMost = 13 * kGrid;
// A change below this is rounding.
constexpr double kLeast = 5e-4;

double fraction(double p) { return std::isfinite(p) ? std::clamp(p, 0.0, 1.0) : 0.0; }

}  // namespace

QString shareText(double p) {
  if (!std::isfinite(p)) return QStringLiteral("–");
  if (p > 0 && p < 1e-4) return QStringLiteral("< 0.01 %");
  return QStringLiteral("%1 %").arg(p * 100, 0, 'f', p < 0.09995 ? 2 : 1);
}

TokenColumns::TokenColumns(QWidget* parent) : View(parent) {
  setMouseTracking(true);
  setFocusPolicy(Qt::NoFocus);
  setAccessibleName(tr("Next tokens"));
  setTitle(tr("next tokens"));
}

void TokenColumns::setColumns(std::vector<TokenColumn> columns) {
  columns_ = std::move(columns);
  QStringList said;
  for (const TokenColumn& c : columns_)
    if (c.remark.isEmpty() && !c.tokens.top.empty())
      said << tr("%1: %2 %3").arg(c.title, quotedToken(QString::fromStdString(c.tokens.top[0].text), 40),
                                  shareText(c.tokens.top[0].probability));
  setAccessibleDescription(said.join(QStringLiteral("; ")));
  updateGeometry();
  update();
}

// ---- rows ----------------------------------------------------------------------------------------------------------

double TokenColumns::before(const TokenColumn& c, int64_t id) const {
  if (c.against < 0 || c.against >= static_cast<int>(columns_.size())) return std::nan("");
  const TokenColumn& other = columns_[static_cast<size_t>(c.against)];
  if (!other.remark.isEmpty()) return std::nan("");
  for (const auto* list : {&other.tokens.top, &other.tokens.asked})
    for (const app::NextToken& t : *list)
      if (t.id == id) return t.probability;
  return std::nan("");
}

std::vector<TokenColumns::Row> TokenColumns::rows(int column) const {
  std::vector<Row> out;
  const TokenColumn& c = columns_[static_cast<size_t>(column)];
  if (!c.remark.isEmpty()) return out;
  const auto one = [&](const app::NextToken& t, int role) {
    return Row{role, QString::fromStdString(t.text), 0, t.id, t.probability, t.logit, before(c, t.id)};
  };
  const size_t ends[3] = {0, std::min(c.answers, c.tokens.asked.size()), c.tokens.asked.size()};
  for (int k = 0; k < 2; ++k) {
    const size_t count = ends[k + 1] - ends[k];
    const int role = k == 0 ? 1 : -1;
    if (count > kMostAlone) {
      Row all{role, {}, count, -1, 0, 0, 0};
      for (size_t i = ends[k]; i < ends[k + 1]; ++i) {
        const app::NextToken& t = c.tokens.asked[i];
        all.probability += t.probability;
        all.logit += t.logit / static_cast<double>(count);
        all.before += before(c, t.id);
      }
      out.push_back(all);
    } else {
      for (size_t i = ends[k]; i < ends[k + 1]; ++i) out.push_back(one(c.tokens.asked[i], role));
    }
  }
  for (size_t i = 0; i < c.tokens.top.size() && i < static_cast<size_t>(kTop); ++i) out.push_back(one(c.tokens.top[i], 0));
  return out;
}

QString TokenColumns::changeText(double before, double after) {
  const double d = after - before;
  if (!std::isfinite(d) || std::abs(d) < kLeast) return {};
  const double points = std::abs(d) * 100;
  return (d > 0 ? QStringLiteral("▲ ") : QStringLiteral("▼ ")) + QString::number(points, 'f', points < 9.995 ? 2 : 1);
}

QString TokenColumns::describe(int column, const Row& row) const {
  const TokenColumn& c = columns_[static_cast<size_t>(column)];
  QString what = row.many > 0 ? (row.role > 0 ? tr("all %1 answers").arg(row.many) : tr("all %1 wrong answers").arg(row.many))
                              : quotedToken(row.text, 80) + tr(" (id %1)").arg(row.id);
  if (row.many == 0 && row.role != 0) what += row.role > 0 ? tr(", the answer") : tr(", a wrong answer");
  QString text = tr("%1: %2, %3, logit %4").arg(c.title, what, shareText(row.probability), numberText(row.logit));
  if (c.against >= 0 && std::isfinite(row.before))
    text += tr("; %1 in “%2”").arg(shareText(row.before), columns_[static_cast<size_t>(c.against)].title);
  return text;
}

// ---- measures ------------------------------------------------------------------------------------------------------

int TokenColumns::lineHeight() const { return std::max(QFontMetrics(monoFont()).height() + 4, 2 * kGrid + 3); }

int TokenColumns::pinned() const {
  size_t most = 0;
  for (const TokenColumn& c : columns_) {
    const size_t right = std::min(c.answers, c.tokens.asked.size()), wrong = c.tokens.asked.size() - right;
    most = std::max(most, (right > kMostAlone ? 1 : right) + (wrong > kMostAlone ? 1 : wrong));
  }
  return static_cast<int>(most);
}

QSize TokenColumns::minimumSizeHint() const {
  size_t facts = 0;
  for (const TokenColumn& c : columns_) facts = std::max(facts, c.facts.size() + 3);
  const int lines = std::max(pinned() + kTop, static_cast<int>(facts));
  return {static_cast<int>(std::max<size_t>(1, columns_.size())) * 15 * kGrid, (lines + 1) * lineHeight() + 2 * kRuleGap};
}

QSize TokenColumns::sizeHint() const {
  return {static_cast<int>(std::max<size_t>(1, columns_.size())) * 28 * kGrid, minimumSizeHint().height()};
}

QSizeF TokenColumns::pictureSize() const { return {std::max<double>(width(), sizeHint().width()), static_cast<double>(sizeHint().height())}; }

// What compares has more to say, so it is wider.
std::vector<QRect> TokenColumns::places(int width) const {
  std::vector<QRect> out;
  double sum = 0;
  for (const TokenColumn& c : columns_) sum += c.against >= 0 || !c.facts.empty() ? 1.3 : 1.0;
  const double room = width - kColumnGap * (static_cast<double>(columns_.size()) - 1);
  double left = 0;
  for (const TokenColumn& c : columns_) {
    const double wide = std::max(0.0, room) * (c.against >= 0 || !c.facts.empty() ? 1.3 : 1.0) / sum;
    out.emplace_back(static_cast<int>(left), 0, static_cast<int>(wide), std::max(height(), minimumSizeHint().height()));
    left += wide + kColumnGap;
  }
  return out;
}

// ---- painting ------------------------------------------------------------------------------------------------------

void TokenColumns::paintRow(QPainter& p, const QRect& r, const Row& row, bool changes) const {
  const Theme& t = Theme::of(this);
  const QFontMetrics m(font());
  const QFont mono = monoFont();
  if (row.role != 0) {
    p.setFont(font());
    p.setPen(row.role > 0 ? t.good : t.error);
    p.drawText(QRect(r.left(), r.top(), kGlyph, r.height()), Qt::AlignLeft | Qt::AlignVCenter,
               row.role > 0 ? QStringLiteral("✓") : QStringLiteral("✗"));
  }
  QRect body = r.adjusted(kGlyph, 0, 0, 0);
  if (changes) {
    const int room = m.horizontalAdvance(QStringLiteral("▲ 88.88")) + kGrid;
    const QString text = changeText(row.before, row.probability);
    p.setFont(font());
    p.setPen(text.isEmpty() ? t.muted : row.probability > row.before ? t.accent : t.warning);
    p.drawText(body, Qt::AlignRight | Qt::AlignVCenter, text.isEmpty() ? std::isnan(row.before) ? tr("new") : QStringLiteral("=") : text);
    body.setRight(body.right() - room);
  }
  p.setFont(font());
  p.setPen(t.text);
  p.drawText(body, Qt::AlignRight | Qt::AlignVCenter, shareText(row.probability));
  body.setRight(body.right() - m.horizontalAdvance(QStringLiteral("< 0.01 %")) - kGrid / 2);

  // The chip is as wide as its token, the bar takes the rest.
  const int chipRoom = std::min(kChipMost, body.width() * 3 / 5);
  const QString shown = row.many > 0 ? tr("all %1").arg(row.many) : visibleToken(row.text.left(200));
  const QFontMetrics mm(row.many > 0 ? font() : mono);
  const QString text = mm.elidedText(shown, Qt::ElideRight, std::max(0, chipRoom - kGrid));
  const QRect chip(body.left(), r.top() + 1, std::min(chipRoom, mm.horizontalAdvance(text) + kGrid), r.height() - 3);
  p.setPen(Qt::NoPen);
  p.setBrush(t.raised);
  p.drawRoundedRect(chip, 4, 4);
  p.setFont(row.many > 0 ? font() : mono);
  p.setPen(t.text);
  p.drawText(chip, Qt::AlignCenter | Qt::TextSingleLine, text);
  const QRectF track(body.left() + chipRoom + kGrid / 2, r.center().y() - kGrid / 2 + 1, body.width() - chipRoom - kGrid, kGrid);
  if (track.width() < kGrid) return;
  p.setPen(Qt::NoPen);
  p.setBrush(t.faint);
  p.drawRoundedRect(QRectF(track.left(), track.center().y() - 0.5, track.width(), 1), 0.5, 0.5);
  p.setBrush(t.accent);
  p.drawRoundedRect(QRectF(track.left(), track.top(), std::max(1.5, track.width() * fraction(row.probability)), track.height()), 2, 2);
  if (changes && std::isfinite(row.before)) {
    // Where it stood before.
    p.setBrush(t.text);
    p.drawRect(QRectF(track.left() + track.width() * fraction(row.before) - 0.75, track.top() - 2, 1.5, track.height() + 4));
  }
}

void TokenColumns::paintColumn(QPainter& p, const QRect& area, int column) const {
  const Theme& t = Theme::of(this);
  const TokenColumn& c = columns_[static_cast<size_t>(column)];
  const int line = lineHeight();
  QRect head(area.left(), area.top(), area.width(), line);
  QFont bold = font();
  bold.setWeight(QFont::DemiBold);
  const QFontMetrics b(bold), m(font());
  p.setFont(bold);
  p.setPen(t.text);
  p.drawText(head, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, b.elidedText(c.title, Qt::ElideRight, head.width()));
  head.setLeft(head.left() + b.horizontalAdvance(c.title) + kGrid);
  p.setFont(font());
  p.setPen(t.muted);
  if (head.width() > 2 * kGrid)
    p.drawText(head, Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, m.elidedText(c.detail, Qt::ElideRight, head.width()));
  const QRect below = area.adjusted(0, line, 0, 0);
  if (!c.remark.isEmpty() || !c.facts.empty()) {
    int y = below.top();
    for (const auto& [name, value] : c.facts) {
      p.setPen(t.muted);
      const int wide = m.horizontalAdvance(value);
      p.drawText(QRect(below.left(), y, std::max(0, below.width() - wide - kGrid), line), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
                 m.elidedText(name, Qt::ElideRight, std::max(0, below.width() - wide - kGrid)));
      p.setPen(t.text);
      p.drawText(QRect(below.left(), y, below.width(), line), Qt::AlignRight | Qt::AlignVCenter | Qt::TextSingleLine, value);
      y += line;
    }
    p.setPen(t.muted);
    p.drawText(QRect(below.left(), y + kRuleGap, below.width(), below.bottom() - y), Qt::AlignLeft | Qt::AlignTop | Qt::TextWordWrap, c.remark);
    return;
  }
  int y = below.top();
  bool top = false;
  for (const Row& row : rows(column)) {
    if (row.role == 0 && !top) {
      // All columns begin their lists at one height.
      top = true;
      y = below.top() + pinned() * line + (pinned() > 0 ? 2 * kRuleGap : 0);
      if (pinned() > 0) p.fillRect(QRectF(area.left(), y - kRuleGap, area.width(), 1), t.faint);
    }
    paintRow(p, QRect(area.left(), y, area.width(), line), row, c.against >= 0);
    y += line;
  }
}

void TokenColumns::paint(QPainter& p, int width) const {
  p.setRenderHint(QPainter::Antialiasing);
  p.setFont(font());
  const std::vector<QRect> all = places(width);
  for (size_t i = 0; i < all.size(); ++i) paintColumn(p, all[i], static_cast<int>(i));
}

void TokenColumns::paintEvent(QPaintEvent*) {
  QPainter p(this);
  p.fillRect(rect(), Theme::of(this).surface);
  paint(p, width());
}

void TokenColumns::drawPicture(QPainter& painter, const QSizeF& size) const {
  painter.fillRect(QRectF(QPointF(), size), Theme::of(this).surface);
  paint(painter, static_cast<int>(size.width()));
}

// ---- what is below the mouse ---------------------------------------------------------------------------------------

QString TokenColumns::textAt(const QPoint& at) const {
  const std::vector<QRect> all = places(width());
  const int line = lineHeight();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].contains(at)) continue;
    if (at.y() < line) return columns_[i].title + QLatin1Char(' ') + columns_[i].detail;
    int y = line;
    bool top = false;
    for (const Row& row : rows(static_cast<int>(i))) {
      if (row.role == 0 && !top) top = true, y = line + pinned() * line + (pinned() > 0 ? 2 * kRuleGap : 0);
      if (at.y() >= y && at.y() < y + line) return describe(static_cast<int>(i), row);
      y += line;
    }
  }
  return {};
}

bool TokenColumns::event(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return View::event(event);
  auto* help = static_cast<QHelpEvent*>(event);
  const QString text = textAt(help->pos());
  if (text.isEmpty()) QToolTip::hideText();
  else QToolTip::showText(help->globalPos(), tipText(text), this);
  return true;
}

void TokenColumns::mouseMoveEvent(QMouseEvent* event) { Q_EMIT hoverText(textAt(event->pos())); }
void TokenColumns::leaveEvent(QEvent*) { Q_EMIT hoverText({}); }

QString TokenColumns::csv() const {
  Table table;
  table.columns = {{"run", "", ""}, {"role", "", ""}, {"id", "", ""}, {"token", "", ""}, {"probability", "", ""}, {"change", "", ""}, {"logit", "", ""}};
  for (size_t i = 0; i < columns_.size(); ++i)
    for (const Row& r : rows(static_cast<int>(i))) {
      const double change = r.probability - r.before;
      const std::string text = r.many > 0 ? "all " + std::to_string(r.many) : r.text.toStdString();
      table.rows.push_back({columns_[i].title.toStdString(), std::string(r.role > 0 ? "answer" : r.role < 0 ? "wrong" : "top"),
                            r.many > 0 ? Cell{} : Cell{r.id}, text, r.probability,
                            columns_[i].against >= 0 && std::isfinite(change) ? Cell{change} : Cell{}, r.logit});
    }
  return QString::fromStdString(table_to_csv(table));
}

}  // namespace microtome::desktop
