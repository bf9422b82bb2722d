#include "app/desktop/views/map_axis.h"

#include <QFontMetricsF>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

struct Label {
  QString text;
  double from = 0, to = 0;  // along the axis
};

// What of an index is seen; empty when nothing.
std::pair<double, double> seen(const AxisPaint& a, int64_t index) {
  const double start = a.origin + static_cast<double>(index) * a.pitch;
  return {std::max(a.from, start), std::min(a.to, start + a.shown)};
}

// The label's place along the axis. False where too little of the index is seen.
bool place(const AxisPaint& a, const QFontMetricsF& metrics, int64_t index, Label& out) {
  if (index < 0 || index >= a.count) return false;
  const auto [from, to] = seen(a, index);
  if (to - from < std::min(a.shown * 0.5, metrics.height() * 0.75)) return false;
  const bool level = a.side == AxisPaint::Side::kBelow;
  const double room = a.side == AxisPaint::Side::kLeft ? a.labels.width() : level ? 160.0 : a.labels.height();
  out.text = metrics.elidedText(axisLabel(a.axis[0], a.count, index), Qt::ElideRight, room);
  const double extent = level ? metrics.horizontalAdvance(out.text) : metrics.height();
  double centre = (from + to) / 2;
  // A label wider than its cell must not be cut off at the picture's end.
  if (level && a.labels.width() > extent)
    centre = std::clamp(centre, a.labels.left() + extent / 2, a.labels.right() - extent / 2);
  out.from = centre - extent / 2;
  out.to = centre + extent / 2;
  return true;
}

void drawLabel(QPainter& painter, const AxisPaint& a, const Label& label, const QFontMetricsF& metrics) {
  const int flags = Qt::TextSingleLine | Qt::TextDontClip;
  if (a.side == AxisPaint::Side::kLeft) {
    painter.drawText(QRectF(a.labels.left(), label.from, a.labels.width(), label.to - label.from),
                     flags | Qt::AlignRight | Qt::AlignVCenter, label.text);
  } else if (a.side == AxisPaint::Side::kBelow) {
    painter.drawText(QRectF(label.from, a.labels.top(), label.to - label.from, metrics.height()),
                     flags | Qt::AlignHCenter | Qt::AlignTop, label.text);
  } else {
    painter.save();
    painter.translate(label.from, a.labels.bottom());
    painter.rotate(-90);
    painter.drawText(QRectF(0, 0, a.labels.height(), label.to - label.from), flags | Qt::AlignRight | Qt::AlignVCenter,
                     label.text);
    painter.restore();
  }
}

QRectF chip(const AxisPaint& a, const Label& label, const QFontMetricsF& metrics) {
  const double width = metrics.horizontalAdvance(label.text);
  switch (a.side) {
    case AxisPaint::Side::kLeft:
      return QRectF(a.labels.right() - width, label.from, width, label.to - label.from).adjusted(-4, 0, 3, 0);
    case AxisPaint::Side::kBelow:
      return QRectF(label.from, a.labels.top(), width, metrics.height()).adjusted(-4, 0, 4, 0);
    default: return QRectF(label.from, a.labels.top(), label.to - label.from, width).adjusted(0, -3, 0, 4);
  }
}

void paintStrip(QPainter& painter, const AxisPaint& a, const Theme& theme) {
  if (a.strip.isEmpty() || a.axis->kinds.empty() || !(a.pitch > 0)) return;
  const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(std::floor((a.from - a.origin) / a.pitch)));
  const int64_t end = std::min(a.count, static_cast<int64_t>(std::ceil((a.to - a.origin) / a.pitch)));
  const bool apart = a.shown >= 6;
  for (int64_t i = first; i < end;) {
    const LayerKind kind = axisKind(*a.axis, i);
    int64_t next = i + 1;
    // Narrow ones of a kind run together.
    while (!apart && next < end && axisKind(*a.axis, next) == kind) ++next;
    const double from = seen(a, i).first, to = seen(a, next - 1).second;
    const double inset = apart && a.shown == a.pitch ? 0.5 : 0;
    if (kind != LayerKind::kNone && to > from) {
      const QRectF mark = a.side == AxisPaint::Side::kLeft
                              ? QRectF(a.strip.left(), from + inset, a.strip.width(), to - from - 2 * inset)
                              : QRectF(from + inset, a.strip.top(), to - from - 2 * inset, a.strip.height());
      painter.fillRect(mark, theme.layerColour(kind == LayerKind::kRecurrent));
    }
    i = next;
  }
}

void paintName(QPainter& painter, const AxisPaint& a, const Theme& theme) {
  if (a.name.isEmpty() || a.axis->name.isEmpty()) return;
  const bool left = a.side == AxisPaint::Side::kLeft;
  painter.setFont(a.nameFont);
  painter.setPen(theme.muted);
  const QString text = QFontMetricsF(a.nameFont)
                           .elidedText(visibleToken(a.axis->name.left(128)).replace(QChar(0x00b7), QLatin1Char(' ')),
                                       Qt::ElideRight, left ? a.name.height() : a.name.width());
  if (!left) {
    painter.drawText(a.name, Qt::AlignCenter | Qt::TextSingleLine, text);
    return;
  }
  painter.save();
  painter.translate(a.name.left(), a.name.bottom());
  painter.rotate(-90);
  painter.drawText(QRectF(0, 0, a.name.height(), a.name.width()), Qt::AlignCenter | Qt::TextSingleLine, text);
  painter.restore();
}

}  // namespace

void paintAxis(QPainter& painter, const AxisPaint& a, const Theme& theme) {
  paintStrip(painter, a, theme);
  paintName(painter, a, theme);
  if (a.labels.isEmpty() || !(a.pitch > 0) || a.count < 1) return;
  const QFontMetricsF metrics(a.font);
  QFont bold = a.font;
  bold.setBold(true);
  const QFontMetricsF boldMetrics(bold);

  std::vector<Label> taken;
  const auto free = [&](const Label& l, double gap) {
    return std::none_of(taken.begin(), taken.end(),
                        [&](const Label& t) { return l.from < t.to + gap && t.from < l.to + gap; });
  };
  const bool level = a.side == AxisPaint::Side::kBelow;
  const double gap = level ? 8 : 0;
  Label label;
  if (place(a, metrics, a.hovered, label)) {
    taken.push_back(label);
    painter.setPen(Qt::NoPen);
    painter.setBrush(theme.raised);
    painter.drawRoundedRect(chip(a, label, metrics), 3, 3);
    painter.setBrush(Qt::NoBrush);
    painter.setFont(a.font);
    painter.setPen(theme.text);
    drawLabel(painter, a, label, metrics);
  }
  painter.setFont(bold);
  painter.setPen(theme.text);
  for (int64_t index : a.chosen) {
    if (index == a.hovered || !place(a, boldMetrics, index, label) || !free(label, gap)) continue;
    taken.push_back(label);
    drawLabel(painter, a, label, boldMetrics);
  }

  // One step for the whole axis, counted from index 0: labels stay with their cells when the map is panned.
  double need = metrics.height();
  const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(std::floor((a.from - a.origin) / a.pitch)));
  const int64_t last = std::min(a.count - 1, static_cast<int64_t>(std::floor((a.to - a.origin) / a.pitch)));
  const bool named = hasLabels(*a.axis, a.count);
  if (level) {
    need = metrics.horizontalAdvance(QString::number(last)) + gap;
    if (named) {
      need = 0;
      const int64_t stride = std::max<int64_t>(1, (last - first) / 256);
      for (int64_t i = first; i <= last; i += stride)
        need = std::max(need, std::min(160.0, metrics.horizontalAdvance(axisLabel(*a.axis, a.count, i))) + gap);
    }
  }
  // Numbers that are thinned anyway are set less tightly.
  if (!named && !level && need > a.pitch) need *= 1.6;
  const double least = need / a.pitch;
  const int64_t step =
      named ? std::max<int64_t>(1, static_cast<int64_t>(std::ceil(std::min(least, 1e15)))) : niceStep(least);
  painter.setFont(a.font);
  painter.setPen(theme.muted);
  for (int64_t i = (first + step - 1) / step * step; i <= last; i += step) {
    if (i == a.hovered || !place(a, metrics, i, label) || !free(label, gap)) continue;
    taken.push_back(label);
    drawLabel(painter, a, label, metrics);
  }
}

}  // namespace microtome::desktop
