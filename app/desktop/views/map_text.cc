#include "app/desktop/views/map_text.h"

#include <QFontMetricsF>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QObject::tr(text); }

}  // namespace

QFont tickFont(const QFont& font, bool tokens) {
  QFont f = tokens ? monoFont(-1) : font;
  if (!tokens && f.pointSizeF() > 0) f.setPointSizeF(std::max(7.0, f.pointSizeF() - 1));
  return f;
}

bool hasLabels(const MapAxis& axis, int64_t count) { return count > 0 && axis.labels.size() == count; }

QString axisLabel(const MapAxis& axis, int64_t count, int64_t index) {
  if (!hasLabels(axis, count) || index < 0 || index >= count) return QString::number(index);
  constexpr int kLetters = 64;
  const QString& label = axis.labels.at(static_cast<qsizetype>(index));
  // Names get the same care as tokens but keep their blanks.
  QString shown = visibleToken(label.left(kLetters + 1));
  if (!axis.tokens) shown = shown.replace(QChar(0x00b7), QLatin1Char(' '));
  if (shown.size() > kLetters) shown = shown.left(kLetters) + QChar(0x2026);
  return shown;
}

LayerKind axisKind(const MapAxis& axis, int64_t index) {
  return index >= 0 && index < static_cast<int64_t>(axis.kinds.size()) ? axis.kinds[static_cast<size_t>(index)]
                                                                       : LayerKind::kNone;
}

QString axisPhrase(const MapAxis& axis, int64_t count, int64_t index, const QString& fallback) {
  QString name = axis.name.left(64);
  if (name.isEmpty()) name = fallback;
  QString text;
  if (axis.tokens && hasLabels(axis, count))
    text = QStringLiteral("%1 %2 “%3”").arg(name, QString::number(index), axisLabel(axis, count, index));
  else
    text = name + QLatin1Char(' ') + axisLabel(axis, count, index);
  switch (axisKind(axis, index)) {
    case LayerKind::kSoftmax: return text + tr(" (softmax)");
    case LayerKind::kRecurrent: return text + tr(" (recurrent)");
    default: return text;
  }
}

double widestLabel(const MapAxis& axis, int64_t count, const QFont& font) {
  const QFontMetricsF metrics(font);
  if (!hasLabels(axis, count)) return metrics.horizontalAdvance(QString::number(std::max<int64_t>(0, count - 1)));
  const int64_t step = std::max<int64_t>(1, count / 512);
  std::vector<double> widths;
  for (int64_t i = 0; i < count; i += step) widths.push_back(metrics.horizontalAdvance(axisLabel(axis, count, i)));
  std::sort(widths.begin(), widths.end());
  // One overlong token must not push the axis away from all the others: it is cut.
  const double usual = widths[(widths.size() - 1) * 8 / 10];
  return std::ceil(std::min(widths.back(), std::max(8.0 * kGrid, 1.25 * usual))) + 1;
}

QString labelWithUnit(const QString& label, const QString& unit) {
  if (unit.isEmpty()) return label;
  return label.isEmpty() ? unit : QStringLiteral("%1 (%2)").arg(label, unit);
}

QString cellPhrase(const HeatMapData& data, int64_t row, int64_t col) {
  const double value = (*data.values)[static_cast<size_t>(row * data.cols + col)];
  const QString place = axisPhrase(data.rowAxis, data.rows, row, tr("row")) + QStringLiteral(", ") +
                        axisPhrase(data.colAxis, data.cols, col, tr("column")) + QStringLiteral(": ");
  const QString label = data.label.left(64);
  if (std::isnan(value)) return place + (label.isEmpty() ? tr("no value") : tr("no value of %1").arg(label));
  QString text = place + (label.isEmpty() ? QString() : label + QLatin1Char(' ')) + numberText(value);
  if (!data.unit.isEmpty()) text += QLatin1Char(' ') + data.unit.left(32);
  return text;
}

QString cellNumber(double value, double most) {
  if (!std::isfinite(value)) return numberText(value);
  if (!(most >= 1e-3) || most >= 1e5 || std::abs(value) > 10 * most) return numberText(value, 3);
  const int before = static_cast<int>(std::floor(std::log10(most))) + 1;
  const int decimals = std::clamp(3 - std::max(before, 0), 0, 5) + (most < 0.1 ? 1 : 0);
  QString text = QString::number(value, 'f', decimals);
  // What rounds to nothing has no sign.
  if (text.startsWith(QLatin1Char('-')) && text.toDouble() == 0) text.remove(0, 1);
  return text.replace(QLatin1Char('-'), QChar(0x2212));
}

int64_t niceStep(double least) {
  int64_t power = 1;
  while (power < 1'000'000'000'000) {
    for (int64_t factor : {1, 2, 5})
      if (static_cast<double>(factor * power) >= least) return factor * power;
    power *= 10;
  }
  return power;
}

QString toolTipText(const QString& text) {
  return text.isEmpty() ? QString() : QStringLiteral("<p>") + text.toHtmlEscaped() + QStringLiteral("</p>");
}

QString csvField(const QString& text) {
  const bool plain = std::none_of(text.begin(), text.end(), [](QChar c) {
    return c == QLatin1Char(',') || c == QLatin1Char('"') || c == QLatin1Char('\n') || c == QLatin1Char('\r');
  });
  if (plain) return text;
  QString quoted = text;
  return QLatin1Char('"') + quoted.replace(QLatin1Char('"'), QStringLiteral("\"\"")) + QLatin1Char('"');
}

QString csvNumber(float value) {
  if (std::isnan(value)) return {};
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return QString::fromLatin1(buffer, static_cast<qsizetype>(end - buffer));
}

}  // namespace microtome::desktop
