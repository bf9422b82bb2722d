// answer_edit.h — a field for answers: blanks show as "·" while one types, since the blank before a word is part of its token;
// several answers are separated by "|".
#pragma once

#include <QLineEdit>
#include <string>
#include <vector>

namespace microtome::desktop {

class AnswerEdit : public QLineEdit {
  Q_OBJECT
 public:
  explicit AnswerEdit(QWidget* parent = nullptr);
  void setAnswers(const std::vector<std::string>& answers);
  std::vector<std::string> answers() const;
  // What became of it, at its right end: a tick and the id, a cross and why not; empty: nothing.
  enum class Verdict { kNone, kGood, kBad };
  void setVerdict(Verdict verdict, const QString& tip);
  Verdict verdict() const { return verdict_; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  Verdict verdict_ = Verdict::kNone;
};

}  // namespace microtome::desktop
