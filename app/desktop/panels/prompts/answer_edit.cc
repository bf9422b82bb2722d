#include "app/desktop/panels/prompts/answer_edit.h"

#include <QPainter>
#include <QStringList>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr QChar kBlank(0x00b7), kBetween('|');

QString dotted(QString text) { return text.replace(QLatin1Char(' '), kBlank); }

}  // namespace

AnswerEdit::AnswerEdit(QWidget* parent) : QLineEdit(parent) {
  setFont(monoFont());
  setTextMargins(0, 0, 2 * kGrid, 0);
  connect(this, &QLineEdit::textEdited, this, [this](const QString& text) {
    if (!text.contains(QLatin1Char(' '))) return;
    // One sign for one: the cursor stays where it is.
    const int cursor = cursorPosition();
    setText(dotted(text));
    setCursorPosition(cursor);
  });
}

void AnswerEdit::setAnswers(const std::vector<std::string>& answers) {
  QStringList parts;
  for (const std::string& a : answers) parts << dotted(QString::fromStdString(a));
  setText(parts.join(kBetween));
  setCursorPosition(0);
}

std::vector<std::string> AnswerEdit::answers() const {
  std::vector<std::string> out;
  for (QString part : text().split(kBetween, Qt::SkipEmptyParts))
    out.push_back(part.replace(kBlank, QLatin1Char(' ')).toStdString());
  return out;
}

void AnswerEdit::setVerdict(Verdict verdict, const QString& tip) {
  setToolTip(tipText(tip));
  if (verdict == verdict_) return;
  verdict_ = verdict;
  update();
}

void AnswerEdit::paintEvent(QPaintEvent* event) {
  QLineEdit::paintEvent(event);
  if (verdict_ == Verdict::kNone) return;
  const Theme& t = Theme::of(this);
  QPainter p(this);
  QFont f = font();
  f.setBold(true);
  p.setFont(f);
  p.setPen(verdict_ == Verdict::kGood ? t.good : t.error);
  p.drawText(rect().adjusted(0, 0, -kGrid, 0), Qt::AlignRight | Qt::AlignVCenter,
             verdict_ == Verdict::kGood ? QStringLiteral("✓") : QStringLiteral("✗"));
}

}  // namespace microtome::desktop
