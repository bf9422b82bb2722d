#include "app/desktop/views/label_text.h"

#include <algorithm>

#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {

QString labelText(const std::string& text, int most) {
  // A character has at most four bytes: what lies behind can't be shown and is not decoded.
  const size_t bytes = static_cast<size_t>(std::max(0, most) + 1) * 4;
  return plainLine(QString::fromUtf8(text.data(), static_cast<qsizetype>(std::min(text.size(), bytes))), most);
}

QString nameText(const std::string& name) {
  QString out = labelText(name, 80);
  return out.replace(QLatin1Char('_'), QLatin1Char(' '));
}

QString axisText(const std::string& axis) {
  if (axis == "pos") return QStringLiteral("position");
  if (axis == "q_pos") return QStringLiteral("query position");
  if (axis == "k_pos") return QStringLiteral("key position");
  return nameText(axis);
}

QString withUnit(const QString& name, const QString& unit) {
  return unit.isEmpty() ? name : QStringLiteral("%1 (%2)").arg(name, unit);
}

QString tipText(const QString& text) {
  return text.isEmpty() ? QString() : QStringLiteral("<qt>%1</qt>").arg(text.toHtmlEscaped());
}

}  // namespace microtome::desktop
