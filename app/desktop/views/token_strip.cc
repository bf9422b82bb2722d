#include "app/desktop/views/token_strip.h"

#include <QFontMetricsF>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPaintEvent>
#include <QPainter>
#include <QScrollArea>
#include <QToolTip>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"
#include "app/desktop/views/token_layout.h"
#include "core/store/result_json.h"

namespace microtome::desktop {
namespace {

constexpr int kRadius = 4;

}  // namespace

struct TokenStrip::Impl {
  TokenStrip* view = nullptr;
  std::vector<TokenChip> chips;
  std::vector<TokenFace> faces;
  std::vector<double> values;
  Look look = Look::kSequential;
  double lo = 0, hi = 1;
  QString caption, valueName;
  int64_t selected = -1, cursor = -1, hovered = -1;
  bool ring = false;                                   // focus came by keyboard
  QFont mono, monoItalic, small;
  TokenMeasures measures;
  TokenLayout now;

  void measure();
  const TokenLayout& current();
  bool has(int64_t index) const { return index >= 0 && index < static_cast<int64_t>(chips.size()); }
  double valueAt(size_t i) const { return i < values.size() ? values[i] : std::numeric_limits<double>::quiet_NaN(); }
  void paint(QPainter& p, const TokenLayout& l, const QRect& part, bool live) const;
  void paintChip(QPainter& p, const QRect& r, size_t i, const Theme& theme, bool live) const;
  QString describe(size_t i, bool raw) const;
  void repaintChip(int64_t index);
  void moveTo(int64_t index);
};

void TokenStrip::Impl::measure() {
  mono = monoFont();
  monoItalic = mono;
  monoItalic.setItalic(true);
  small = view->font();
  if (small.pointSizeF() > 0) small.setPointSizeF(std::max(6.0, small.pointSizeF() - 1.5));
  measures.chipHeight = static_cast<int>(std::ceil(QFontMetricsF(mono).height())) + 2 * kChipPadY;
  measures.noteHeight = static_cast<int>(std::ceil(QFontMetricsF(small).height()));
  measures.captionWidth =
      caption.isEmpty() ? 0 : static_cast<int>(std::ceil(QFontMetricsF(view->font()).horizontalAdvance(caption)));
  faces = tokenFaces(chips, mono, small);
  now.width = -1;
}

const TokenLayout& TokenStrip::Impl::current() {
  if (now.width != std::max(view->width(), 4 * kGrid)) now = layOutTokens(faces, measures, view->width());
  return now;
}

void TokenStrip::Impl::paintChip(QPainter& p, const QRect& r, size_t i, const Theme& theme, bool live) const {
  const TokenChip& chip = chips[i];
  const TokenFace& face = faces[i];
  const double value = valueAt(i);
  const bool shaded = std::isfinite(value) && lo < hi;
  const QColor fill = shaded ? QColor(colourOf(look, colourLevel(value, lo, hi), theme.dark)) : theme.raised;
  QColor ink = chip.special ? theme.muted : theme.text;
  if (shaded) ink = isLight(fill.rgb()) ? Theme::light().text : Theme::darkTheme().text;
  const bool isSelected = static_cast<int64_t>(i) == selected, isCursor = static_cast<int64_t>(i) == cursor;
  const QRectF box(r);

  const auto frame = [&](const QColor& colour, double width, double outside) {
    p.setBrush(Qt::NoBrush);
    p.setPen(QPen(colour, width));
    const double d = outside - width / 2;
    p.drawRoundedRect(box.adjusted(-d, -d, d, d), kRadius + outside / 2, kRadius + outside / 2);
  };
  p.setPen(Qt::NoPen);
  p.setBrush(fill);
  p.drawRoundedRect(box, kRadius, kRadius);
  // A white or dark chip on a surface of its own colour still has an edge.
  if (shaded && !chip.differs) frame(theme.faint, 1, 0);
  if (chip.differs) frame(theme.warning, 1.5, 0);
  if (live && static_cast<int64_t>(i) == hovered && !isSelected) frame(theme.muted, 1, 0);

  p.setPen(ink);
  p.setFont(chip.special ? monoItalic : mono);
  const QRect inner = r.adjusted(kChipPadX, 0, -kChipPadX, 0);
  if (face.width > r.width())
    p.drawText(inner, Qt::AlignVCenter | Qt::AlignLeft,
               QFontMetricsF(mono).elidedText(face.shown, Qt::ElideRight, std::max(1, inner.width())));
  else p.drawText(inner.adjusted(0, 0, kChipPadX, 0), Qt::AlignVCenter | Qt::AlignLeft | Qt::TextSingleLine, face.shown);
  if (chip.differs) {
    p.setPen(QPen(shaded ? ink : theme.warning, 2, Qt::SolidLine, Qt::FlatCap));
    p.drawLine(QPointF(inner.left(), r.bottom() - 1.5), QPointF(inner.right() + 1, r.bottom() - 1.5));
  }
  if (isCursor) {
    frame(theme.accent, 2, 1);
    p.setPen(Qt::NoPen);
    p.setBrush(theme.accent);
    p.drawRoundedRect(QRectF(r.left() + 2, r.bottom() + 1.5, r.width() - 4, 3), 1, 1);
  }
  if (isSelected) frame(theme.highlight, 2, isCursor ? -1 : 1);
  if (live && ring && (isSelected || (selected < 0 && i == 0))) {
    p.setBrush(Qt::NoBrush);
    p.setPen(QPen(theme.text, 1, Qt::DotLine));
    p.drawRoundedRect(box.adjusted(-2.5, -2.5, 2.5, 2.5), kRadius + 2, kRadius + 2);
  }
}

void TokenStrip::Impl::paint(QPainter& p, const TokenLayout& l, const QRect& part, bool live) const {
  const Theme& theme = Theme::of(view);
  p.setRenderHint(QPainter::Antialiasing);
  const bool own = l.captionAbove;
  if (measures.captionWidth > 0) {
    p.setPen(theme.muted);
    p.setFont(own ? small : view->font());
    const int top = own ? kChipMargin : l.lines.empty() ? kChipMargin : l.lines.front().top;
    const int width = (own ? l.width : l.left) - kGrid;
    p.drawText(QRect(kChipMargin, top, width, own ? measures.noteHeight : measures.chipHeight),
               Qt::AlignVCenter | Qt::AlignLeft,
               p.fontMetrics().elidedText(caption, Qt::ElideRight, width));
  }
  if (chips.empty()) {
    p.setPen(theme.muted);
    p.setFont(view->font());
    p.drawText(QRect(l.left, l.height - kChipMargin - measures.chipHeight,
                     std::max(1, l.width - l.left - kChipMargin), measures.chipHeight),
               Qt::AlignVCenter | Qt::AlignLeft, TokenStrip::tr("No tokens yet"));
    return;
  }
  auto line = std::lower_bound(l.lines.begin(), l.lines.end(), part.top(),
                               [&](const TokenLine& a, int y) { return a.top + measures.chipHeight + kChipGap < y; });
  for (; line != l.lines.end() && line->top - measures.noteHeight - kChipGap <= part.bottom(); ++line) {
    for (size_t i = line->first; i < line->first + line->count; ++i) {
      const QRect r = l.rect(faces, *line, i);
      if (!faces[i].note.isEmpty()) {
        p.setPen(theme.muted);
        p.setFont(small);
        const int room = std::max(1, l.width - kChipMargin - r.left());
        p.drawText(QRect(r.left(), r.top() - measures.noteHeight - 1, room, measures.noteHeight),
                   Qt::AlignVCenter | Qt::AlignLeft,
                   faces[i].noteWidth <= room ? faces[i].note
                                              : p.fontMetrics().elidedText(faces[i].note, Qt::ElideRight, room));
      }
      if (r.right() + kChipGap >= part.left() && r.left() - kChipGap <= part.right()) paintChip(p, r, i, theme, live);
    }
  }
}

QString TokenStrip::Impl::describe(size_t i, bool raw) const {
  const TokenChip& chip = chips[i];
  QStringList out{TokenStrip::tr("position %1").arg(i)};
  if (chip.id >= 0) out += TokenStrip::tr("id %1").arg(chip.id);
  out += raw ? quotedToken(chip.text) : faces[i].shown;
  if (chip.special) out += TokenStrip::tr("special token");
  if (!chip.note.isEmpty()) out += faces[i].note;
  if (chip.differs) out += TokenStrip::tr("differs from the other prompt");
  if (i < values.size())
    out += QStringLiteral("%1: %2").arg(valueName.isEmpty() ? TokenStrip::tr("value") : plainLine(valueName, 80),
                                        std::isnan(values[i]) ? TokenStrip::tr("no value") : numberText(values[i]));
  return out.join(QStringLiteral(" · "));
}

void TokenStrip::Impl::repaintChip(int64_t index) {
  current();
  if (const QRect r = now.rect(faces, index); !r.isEmpty())
    view->update(r.adjusted(-kChipGap, -kChipGap, kChipGap, kChipGap + 1));
}

void TokenStrip::Impl::moveTo(int64_t index) {
  if (!has(index)) return;
  ring = true;
  view->setSelected(index);
  view->update();
  // In a scroll area the selected token stays in sight.
  for (QWidget* up = view->parentWidget(); up; up = up->parentWidget()) {
    auto* area = qobject_cast<QScrollArea*>(up);
    if (!area || !area->widget() || (area->widget() != view && !area->widget()->isAncestorOf(view))) continue;
    const QRect r = now.rect(faces, index);
    const QPoint middle = view->mapTo(area->widget(), r.center());
    area->ensureVisible(middle.x(), middle.y(), r.width() / 2 + kGrid, measures.chipHeight + measures.noteHeight);
    break;
  }
  Q_EMIT view->tokenClicked(index);
}

TokenStrip::TokenStrip(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>()) {
  impl_->view = this;
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  QSizePolicy policy(QSizePolicy::Preferred, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  setSizePolicy(policy);
  setAccessibleName(tr("Tokens"));
  impl_->measure();
}

TokenStrip::~TokenStrip() = default;

void TokenStrip::setTokens(std::vector<TokenChip> chips) {
  Impl& d = *impl_;
  d.chips = std::move(chips);
  if (!d.has(d.selected)) d.selected = -1;
  if (!d.has(d.cursor)) d.cursor = -1;
  d.hovered = -1;
  d.measure();
  updateGeometry();
  update();
}

const std::vector<TokenChip>& TokenStrip::tokens() const { return impl_->chips; }

void TokenStrip::setCaption(const QString& caption) {
  impl_->caption = plainLine(caption, 60);
  impl_->measure();
  updateGeometry();
  update();
}

void TokenStrip::setValues(std::vector<double> values, Look look, double lo, double hi, const QString& valueName) {
  Impl& d = *impl_;
  d.values = std::move(values);
  d.look = look;
  d.lo = lo;
  d.hi = hi;
  d.valueName = valueName;
  update();
}

void TokenStrip::setSelected(int64_t index) {
  Impl& d = *impl_;
  if (!d.has(index)) index = -1;
  if (index == d.selected) return;
  d.repaintChip(d.selected);
  d.selected = index;
  d.repaintChip(index);
  setAccessibleDescription(index < 0 ? QString() : d.describe(static_cast<size_t>(index), false));
}

int64_t TokenStrip::selected() const { return impl_->selected; }

void TokenStrip::setCursor(int64_t index) {
  Impl& d = *impl_;
  if (!d.has(index)) index = -1;
  if (index == d.cursor) return;
  d.repaintChip(d.cursor);
  d.cursor = index;
  d.repaintChip(index);
}

int TokenStrip::heightForWidth(int width) const {
  return width == impl_->now.width ? impl_->now.height : layOutTokens(impl_->faces, impl_->measures, width).height;
}

QSize TokenStrip::sizeHint() const { return {80 * kGrid, heightForWidth(80 * kGrid)}; }

QSize TokenStrip::minimumSizeHint() const { return {16 * kGrid, impl_->measures.chipHeight + 2 * kChipMargin}; }

QSizeF TokenStrip::pictureSize() const {
  const int width = std::max(this->width(), 20 * kGrid);
  return QSizeF(width, std::max(heightForWidth(width), 2 * kGrid));
}

void TokenStrip::drawPicture(QPainter& painter, const QSizeF& size) const {
  // Text is laid out anew for the place it gets, smaller where it would not fit.
  double scale = 1;
  TokenLayout l = layOutTokens(impl_->faces, impl_->measures, static_cast<int>(size.width()));
  while (l.height * scale > size.height() + 0.5 && scale > 0.1) {
    scale *= 0.92;
    l = layOutTokens(impl_->faces, impl_->measures, static_cast<int>(size.width() / scale));
  }
  painter.save();
  painter.scale(scale, scale);
  impl_->paint(painter, l, QRect(0, 0, l.width, l.height), false);
  painter.restore();
}

QString TokenStrip::csv() const {
  Table table;
  table.columns = {{"position", "", ""}, {"id", "", ""}, {"token", "", ""}, {"value", "", ""}};
  for (size_t i = 0; i < impl_->chips.size(); ++i) {
    const TokenChip& chip = impl_->chips[i];
    const double value = impl_->valueAt(i);
    table.rows.push_back({static_cast<int64_t>(i), chip.id >= 0 ? Cell(static_cast<int64_t>(chip.id)) : Cell(),
                          chip.text.toStdString(), i < impl_->values.size() && !std::isnan(value) ? Cell(value) : Cell()});
  }
  return QString::fromStdString(table_to_csv(table));
}

bool TokenStrip::event(QEvent* event) {
  Impl& d = *impl_;
  switch (event->type()) {
    case QEvent::ToolTip: {
      auto* help = static_cast<QHelpEvent*>(event);
      const int64_t i = d.current().at(d.faces, help->pos());
      if (i < 0) {
        QToolTip::hideText();
        event->ignore();
      } else {
        const QString lines = d.describe(static_cast<size_t>(i), true).toHtmlEscaped();
        QToolTip::showText(help->globalPos(), QStringLiteral("<p>%1</p>").arg(lines), this, d.now.rect(d.faces, i));
      }
      return true;
    }
    case QEvent::FocusIn: {
      const Qt::FocusReason why = static_cast<QFocusEvent*>(event)->reason();
      d.ring = why == Qt::TabFocusReason || why == Qt::BacktabFocusReason || why == Qt::ShortcutFocusReason;
      update();
      break;
    }
    case QEvent::FocusOut:
      d.ring = false;
      update();
      break;
    case QEvent::FontChange:
    case QEvent::StyleChange:
      d.measure();
      updateGeometry();
      break;
    default: break;
  }
  return View::event(event);
}

void TokenStrip::paintEvent(QPaintEvent* event) {
  QPainter painter(this);
  impl_->paint(painter, impl_->current(), event->region().boundingRect(), true);
}

void TokenStrip::mousePressEvent(QMouseEvent* event) {
  const int64_t i = event->button() == Qt::LeftButton ? impl_->current().at(impl_->faces, event->position().toPoint()) : -1;
  if (i < 0) return View::mousePressEvent(event);
  impl_->ring = false;
  setSelected(i);
  Q_EMIT tokenClicked(i);
}

void TokenStrip::mouseMoveEvent(QMouseEvent* event) {
  Impl& d = *impl_;
  const int64_t i = d.current().at(d.faces, event->position().toPoint());
  if (i == d.hovered) return;
  d.repaintChip(d.hovered);
  d.hovered = i;
  d.repaintChip(i);
  Q_EMIT tokenHovered(i);
  Q_EMIT hoverText(i < 0 ? QString() : d.describe(static_cast<size_t>(i), false));
}

void TokenStrip::leaveEvent(QEvent* event) {
  View::leaveEvent(event);
  if (impl_->hovered < 0) return;
  impl_->repaintChip(impl_->hovered);
  impl_->hovered = -1;
  Q_EMIT tokenHovered(-1);
  Q_EMIT hoverText(QString());
}

void TokenStrip::keyPressEvent(QKeyEvent* event) {
  Impl& d = *impl_;
  const auto last = static_cast<int64_t>(d.chips.size()) - 1;
  d.current();
  int64_t to = -1;
  switch (event->key()) {
    case Qt::Key_Left: to = d.selected < 0 ? last : d.selected - 1; break;
    case Qt::Key_Right: to = d.selected + 1; break;
    case Qt::Key_Home: to = 0; break;
    case Qt::Key_End: to = last; break;
    case Qt::Key_Up: to = d.now.neighbour(d.faces, d.selected, -1); break;
    case Qt::Key_Down: to = d.now.neighbour(d.faces, d.selected, 1); break;
    default: return View::keyPressEvent(event);
  }
  if (!d.has(to)) return View::keyPressEvent(event);
  d.moveTo(to);
}

void TokenStrip::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  update();
}

}  // namespace microtome::desktop
