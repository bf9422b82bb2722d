#include "app/desktop/views/plain_line.h"

#include <algorithm>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

// Never between the two halves of one character.
qsizetype cutAt(const QString& text, int most) {
  const qsizetype n = std::min<qsizetype>(text.size(), std::max(0, most));
  return n > 0 && n < text.size() && text[n - 1].isHighSurrogate() ? n - 1 : n;
}

bool drawsNothing(QChar c) { return c.category() == QChar::Other_Control || c.category() == QChar::Other_Format; }

}  // namespace

QString plainLine(const QString& text, int most) {
  const qsizetype n = cutAt(text, most);
  QString out;
  out.reserve(n + 1);
  for (qsizetype i = 0; i < n; ++i) {
    const QChar c = text[i];
    if (drawsNothing(c)) out += visibleToken(QString(c));
    else if (c == QChar::LineSeparator || c == QChar::ParagraphSeparator) out += QChar(0x23ce);
    else out += c;
  }
  if (n < text.size()) out += QChar(0x2026);
  return out;
}

QString quotedToken(const QString& token, int most) {
  const qsizetype n = cutAt(token, most);
  QString out = QStringLiteral("\"");
  for (qsizetype i = 0; i < n; ++i) {
    const QChar c = token[i];
    if (c == QLatin1Char('\n')) out += QStringLiteral("\\n");
    else if (c == QLatin1Char('\t')) out += QStringLiteral("\\t");
    else if (c == QLatin1Char('\r')) out += QStringLiteral("\\r");
    else if (c == QLatin1Char('"') || c == QLatin1Char('\\')) out += QLatin1Char('\\') + QString(c);
    else if (drawsNothing(c)) out += QStringLiteral("\\u%1").arg(c.unicode(), 4, 16, QLatin1Char('0'));
    else out += c;
  }
  out += QLatin1Char('"');
  if (n < token.size()) out += QChar(0x2026);
  return out;
}

}  // namespace microtome::desktop
