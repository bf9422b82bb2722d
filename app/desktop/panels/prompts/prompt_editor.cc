#include "app/desktop/panels/prompts/prompt_editor.h"

#include <QGridLayout>
#include <QKeyEvent>
#include <QLineEdit>

#include "app/desktop/panels/prompts/answer_edit.h"
#include "app/desktop/panels/prompts/token_rows.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr size_t kAtOnce = 4096;       // bytes: more is cut by a worker
constexpr int kMostTyped = 100'000;    // characters: a longer text is shown, and changed in its file
constexpr int kPause = 150;            // ms without a key before tokens are made

}  // namespace

PromptEditor::PromptEditor(Session& session, QWidget* parent) : QWidget(parent), session_(session) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  fields_ = new QWidget(this);
  auto* grid = new QGridLayout(fields_);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->setHorizontalSpacing(kGrid);
  grid->setVerticalSpacing(kGrid / 2);
  clean_ = new QLineEdit(fields_);
  corrupted_ = new QLineEdit(fields_);
  answers_ = new AnswerEdit(fields_);
  wrong_ = new AnswerEdit(fields_);
  const auto place = [&](int row, int at, const QString& text, QLineEdit* field, const QString& tip) {
    auto* label = new QLabel(text, fields_);
    label->setProperty("role", QStringLiteral("muted"));
    label->setBuddy(field);
    field->setToolTip(tip);
    field->setAccessibleName(text);
    field->installEventFilter(this);
    grid->addWidget(label, row, at);
    grid->addWidget(field, row, at + 1);
    connect(field, &QLineEdit::textEdited, this, [this] { edited(); });
    connect(field, &QLineEdit::returnPressed, this, [this] { use(); });
  };
  const QString keys = tr("Enter uses it, Escape goes back; Shift+Enter is a line break.");
  place(0, 0, tr("clean"), clean_, tr("The prompt in which the model does the task. ") + keys);
  place(1, 0, tr("corrupted"), corrupted_,
        tr("The same prompt with what matters changed, equally long in tokens; may stay empty. ") + keys);
  place(0, 2, tr("answer"), answers_, {});
  place(1, 2, tr("wrong"), wrong_, {});
  clean_->setMaxLength(kMostTyped);
  corrupted_->setMaxLength(kMostTyped);
  clean_->setPlaceholderText(tr("When Mary and John went to the store, John gave a book to"));
  corrupted_->setPlaceholderText(tr("the same, with what matters changed"));
  grid->setColumnStretch(1, 5);
  grid->setColumnStretch(3, 1);
  answers_->setMinimumWidth(9 * kGrid);
  wrong_->setMinimumWidth(9 * kGrid);
  column->addWidget(fields_);
  problem_ = new QLabel(this);
  problem_->setObjectName(QStringLiteral("promptProblem"));
  problem_->setTextFormat(Qt::PlainText);
  problem_->setWordWrap(true);
  problem_->hide();
  column->addWidget(problem_);
  rows_ = new TokenRows(this);
  column->addWidget(rows_, 1);
  for (TokenStrip* strip : {rows_->clean(), rows_->corrupted()}) strip->installEventFilter(this);
  rows_->viewport()->installEventFilter(this);
  debounce_.setSingleShot(true);
  debounce_.setInterval(kPause);
  connect(&debounce_, &QTimer::timeout, this, [this] { check(true); });
}

QLineEdit* PromptEditor::cleanField() const { return clean_; }

void PromptEditor::setPair(const PromptPair& pair, const QString& note) {
  // The same prompt anew, for another model or tokenised by now: what is being typed stays.
  const bool same = pair.clean == pair_.clean && pair.corrupted == pair_.corrupted && pair.answers == pair_.answers &&
                    pair.wrong_answers == pair_.wrong_answers;
  pair_ = pair;
  note_ = note;
  if (dirty_ && same) return;
  fill();
}

void PromptEditor::fill() {
  const PromptPair& pair = pair_;
  // A field would cut a longer text without a word.
  const bool editable = pair.clean.size() <= kMostTyped && pair.corrupted.size() <= kMostTyped;
  clean_->setText(QString::fromStdString(pair.clean.substr(0, kMostTyped)));
  corrupted_->setText(QString::fromStdString(pair.corrupted.substr(0, kMostTyped)));
  fields_->setEnabled(editable);
  fields_->setToolTip(editable ? QString() : tr("This prompt is too long to be typed: change it in its file."));
  answers_->setAnswers(pair.answers);
  wrong_->setAnswers(pair.wrong_answers);
  for (QLineEdit* field : {clean_, corrupted_}) field->setCursorPosition(0);
  debounce_.stop();
  setDirty(false);
  check(true);
}

void PromptEditor::setModel(const app::ModelPtr& model) {
  if (model == model_) return;
  model_ = model;
  check(true);
}

void PromptEditor::setEditing(bool on) {
  if (on == editing_) return;
  editing_ = on;
  fields_->setVisible(on);
}

PromptPair PromptEditor::typed() const {
  PromptPair p;
  p.clean = clean_->text().toStdString();
  p.corrupted = corrupted_->text().toStdString();
  p.answers = answers_->answers();
  p.wrong_answers = wrong_->answers();
  return p;
}

void PromptEditor::edited() {
  setDirty(true);
  check(false);
}

void PromptEditor::setDirty(bool dirty) {
  if (dirty == dirty_) return;
  dirty_ = dirty;
  Q_EMIT dirtyChanged(dirty);
}

void PromptEditor::check(bool now) {
  if (!now) {
    waiting_ = true;
    debounce_.start();
    return;
  }
  const int generation = ++generation_;
  const PromptPair pair = dirty_ ? typed() : pair_;
  const app::ModelPtr model = model_;
  const bool cut = !dirty_ && !pair.clean_ids.empty();
  if (cut || textSize(pair) < kAtOnce) {
    show(checkPrompt(pair, model ? model->tokenizer() : nullptr));
    return;
  }
  waiting_ = true;
  session_.post(
      tr("Tokenising"), QStringLiteral("light"), this,
      [pair, model](Progress&) { return checkPrompt(pair, model ? model->tokenizer() : nullptr); },
      [this, generation](const Result<CheckedPrompt>& done) {
        if (done && generation == generation_) show(done.value());
      },
      QStringLiteral("prompt-draft"));
}

void PromptEditor::show(CheckedPrompt checked) {
  waiting_ = false;
  checked_ = std::move(checked);
  if (!model_) {                       // without a model there is nothing to judge by
    checked_.fault = PromptField::kNone;
    checked_.problem.clear();
  }
  rows_->setTokens(checked_.clean, checked_.corrupted);
  rows_->setSelected(session_.selection().position());
  const QString sentence = checked_.problem.isEmpty() && !dirty_ ? note_ : checked_.problem;
  problem_->setText(plainLine(sentence, 400));
  problem_->setVisible(!sentence.isEmpty());
  QPalette colours = palette();
  colours.setColor(QPalette::WindowText, Theme::of(this).warning);
  problem_->setPalette(colours);

  const auto judge = [&](AnswerEdit* field, const std::vector<std::string>& texts, const std::vector<int64_t>& ids,
                         PromptField which, const QString& what) {
    using Verdict = AnswerEdit::Verdict;
    const QString how = tr("Blanks show as ·, several answers are separated by |.");
    if (texts.empty() || !model_) field->setVerdict(Verdict::kNone, QStringLiteral("%1 %2").arg(what, how));
    else if (checked_.fault == which || ids.size() != texts.size())
      field->setVerdict(Verdict::kBad, checked_.problem.isEmpty() ? what : checked_.problem);
    else
      field->setVerdict(Verdict::kGood, texts.size() == 1
                                            ? tr("One token, id %1. %2").arg(QString::number(ids.front()), how)
                                            : tr("%1 answers, one token each. %2").arg(QString::number(texts.size()), how));
  };
  judge(answers_, checked_.pair.answers, checked_.pair.answer_ids, PromptField::kAnswer,
        tr("The token that should come next."));
  judge(wrong_, checked_.pair.wrong_answers, checked_.pair.wrong_ids, PromptField::kWrong,
        tr("The token to compare the answer with."));
}

void PromptEditor::discard() { fill(); }

bool PromptEditor::use() {
  if (!dirty_) return true;
  if (debounce_.isActive()) {
    debounce_.stop();
    check(true);
  }
  if (waiting_ || clean_->text().isEmpty()) return false;
  if (checked_.fault != PromptField::kNone) {
    QLineEdit* fields[] = {nullptr, clean_, corrupted_, answers_, wrong_};
    if (QLineEdit* field = fields[static_cast<int>(checked_.fault)]) field->setFocus(Qt::OtherFocusReason);
    return false;
  }
  const PromptPair pair = typed();
  setDirty(false);
  Q_EMIT used(pair);
  return true;
}

bool PromptEditor::eventFilter(QObject* watched, QEvent* event) {
  if (event->type() == QEvent::MouseButtonDblClick && !qobject_cast<QLineEdit*>(watched)) {
    Q_EMIT editWanted();
    return false;
  }
  auto* field = qobject_cast<QLineEdit*>(watched);
  if (!field || event->type() != QEvent::KeyPress) return false;
  auto* key = static_cast<QKeyEvent*>(event);
  if (key->key() == Qt::Key_Escape && dirty_) {
    discard();
    return true;
  }
  if ((key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter) && key->modifiers().testFlag(Qt::ShiftModifier) &&
      (field == clean_ || field == corrupted_)) {
    field->insert(QStringLiteral("\n"));
    edited();
    return true;
  }
  // Up and down go between the two prompts.
  if (key->key() == Qt::Key_Down && (field == clean_ || field == answers_)) {
    (field == clean_ ? corrupted_ : static_cast<QLineEdit*>(wrong_))->setFocus();
    return true;
  }
  if (key->key() == Qt::Key_Up && (field == corrupted_ || field == wrong_)) {
    (field == corrupted_ ? clean_ : static_cast<QLineEdit*>(answers_))->setFocus();
    return true;
  }
  return false;
}

}  // namespace microtome::desktop
