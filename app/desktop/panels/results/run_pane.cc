#include "app/desktop/panels/results/run_pane.h"

#include <QClipboard>
#include <QGuiApplication>
#include <QLabel>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr int kNarrow = 60 * kGrid;

}  // namespace

RunPane::RunPane(Panel& panel, QWidget* parent) : QWidget(parent), panel_(panel), session_(panel.session()) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  auto* words = new QVBoxLayout;
  words->setSpacing(0);
  title_ = new QLabel(this);
  title_->setObjectName(QStringLiteral("run_title"));
  title_->setProperty("role", QStringLiteral("section"));
  facts_ = new QLabel(this);
  facts_->setObjectName(QStringLiteral("run_facts"));
  facts_->setProperty("role", QStringLiteral("muted"));
  for (QLabel* label : {title_, facts_}) {
    label->setTextFormat(Qt::PlainText);
    label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    words->addWidget(label);
  }
  row->addLayout(words, 1);
  const auto button = [&](const QString& text, const QString& tip) {
    auto* b = new QToolButton(this);
    b->setText(text);
    b->setToolTip(tip);
    b->setFocusPolicy(Qt::StrongFocus);
    row->addWidget(b);
    return b;
  };
  notes_ = button(tr("Note…"), tr("Write down what this run shows"));
  copy_ = button(tr("Copy as command"), {});
  column->addLayout(row);
  strip_ = new JobStrip(session_, this);
  column->addWidget(strip_);
  stack_ = new QStackedWidget(this);
  state_ = new EmptyState({}, {}, {}, stack_);
  // An error's text is a file's or a plug-in's: never markup.
  for (QLabel* label : state_->findChildren<QLabel*>()) label->setTextFormat(Qt::PlainText);
  result_ = new ResultPane(panel, stack_);
  stack_->addWidget(state_);
  stack_->addWidget(result_);
  column->addWidget(stack_, 1);

  connect(copy_, &QToolButton::clicked, this, [this] {
    if (const RunRecord* r = session_.findRun(run_)) {
      QGuiApplication::clipboard()->setText(QString::fromStdString(r->command));
      panel_.showNotice(tr("The command that repeats run %1 is on the clipboard.").arg(run_));
    }
  });
  connect(notes_, &QToolButton::clicked, this, [this] { Q_EMIT panel_.noteWanted(run_, result_->currentArtifact()); });
  connect(state_, &EmptyState::pressed, this, &RunPane::goOn);
  connect(&session_, &Session::runPreview, this,
          [this](qint64 job, const QString&, int slot, const std::shared_ptr<const AnalysisResult>& soFar) {
            if (job == 0 || job != job_) return;
            const RunRecord* r = session_.findRun(run_);
            result_->showPreview(soFar, slot, r ? QString::fromStdString(r->command) : QString());
            stack_->setCurrentWidget(result_);
          });
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& done) {
    // Computed anew, here or elsewhere: the numbers on show are those of before.
    if (job == job_) job_ = 0;
    if (run_ != 0 && done->record.id == run_) {
      shownState_ = -1;
      if (isVisible()) show(run_);
    }
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job) {
    if (job != job_) return;
    job_ = 0;
    shownState_ = -1;
    if (isVisible()) show(run_);
  });
  show(0);
}

std::vector<View*> RunPane::views() const {
  return stack_->currentWidget() == result_ ? result_->views() : std::vector<View*>();
}

void RunPane::show(qint64 run) {
  const RunRecord* record = run != 0 ? session_.findRun(run) : nullptr;
  title_->setVisible(record != nullptr);
  facts_->setVisible(record != nullptr);
  copy_->setVisible(record != nullptr && !record->command.empty());
  notes_->setVisible(record != nullptr);
  if (run != run_) {
    job_ = 0;
    shownState_ = -1;
    error_.clear();
  }
  run_ = run;
  if (!record) {
    shownState_ = -1;
    ++request_;
    strip_->setJob(0, {});
    result_->forget({});
    stack_->setCurrentWidget(state_);
    return;
  }
  setHead(*record);
  const int slot = slotOfModel(session_, *record);
  const int state = static_cast<int>(record->state);
  if (job_ != 0) return;               // its own news come by the session's signals
  if (record->state == RunStatus::kDone) {
    if (state == shownState_ && slot == slot_) return;
    shownState_ = state;
    slot_ = slot;
    load();
    return;
  }
  shownState_ = state;
  slot_ = slot;
  explain(*record);
}

void RunPane::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  copy_->setText(width() < kNarrow ? tr("Copy") : tr("Copy as command"));
  if (const RunRecord* r = run_ != 0 ? session_.findRun(run_) : nullptr) setHead(*r);
}

void RunPane::setHead(const RunRecord& record) {
  const auto set = [](QLabel* label, const QString& text, int width) {
    label->setText(label->fontMetrics().elidedText(text, Qt::ElideRight, std::max(8 * kGrid, width)));
    label->setToolTip(tipText(text));
  };
  int width = this->width() - kGrid;
  for (QToolButton* b : {copy_, notes_})
    if (b->isVisibleTo(this)) width -= b->sizeHint().width() + kGrid;
  set(title_, tr("Run %1 · %2").arg(record.id).arg(runTitle(record)), width);
  QString facts = QStringList{runModel(record), runDataset(record), runStateText(record), shortTime(record.created)}.join(
      QStringLiteral(" · "));
  if (!record.note.empty()) facts += QStringLiteral(" · ") + plainLine(QString::fromStdString(record.note), 200);
  if (!record.deleted.empty()) facts = tr("in the trash") + QStringLiteral(" · ") + facts;
  set(facts_, facts, width);
  copy_->setToolTip(tipText(tr("Copy as command: %1").arg(labelText(record.command, 600))));
}

void RunPane::load() {
  const int asked = ++request_;
  if (stack_->currentWidget() != result_) state_->setText(tr("Reading run %1…").arg(run_), {});
  session_.loadRun(run_, this, [this, asked](const RunViewPtr& read) {
    if (asked != request_) return;
    if (!read) {
      state_->setText(tr("The result can't be read"),
                      tr("The project file may be damaged or on a disk that is gone: run the analysis again."));
      stack_->setCurrentWidget(state_);
      return;
    }
    result_->showRun(read, slot_);
    stack_->setCurrentWidget(result_);
  });
}

void RunPane::explain(const RunRecord& record) {
  const int asked = ++request_;
  const auto tell = [this, record] {
    QString why;
    const bool can = requestOf(session_, record, &why).has_value();
    remedyOpens_ = !can && slotOfModel(session_, record) < 0 && session_.engineReady() && !record.spec.model_path.empty();
    const QString headline = record.state == RunStatus::kFailed ? tr("This run failed") : tr("This run is not finished");
    QString text =
        record.items_total > 0
            ? tr("%1 of %2 items are stored and need not be computed again.").arg(record.items_done).arg(record.items_total)
            : tr("Nothing of it is stored yet.");
    if (!error_.isEmpty()) text += QStringLiteral("\n\n") + tr("The last attempt: %1").arg(error_);
    if (!can) text += QStringLiteral("\n\n") + why;
    state_->setText(headline, text,
                    can ? tr("Go on")
                    : remedyOpens_
                        ? tr("Open %1").arg(runModel(record).left(40).replace(QLatin1Char('&'), QStringLiteral("&&")))
                        : QString());
    stack_->setCurrentWidget(state_);
  };
  tell();
  const std::shared_ptr<ResultStore> store = session_.store();
  if (!store) return;
  session_.post(
      tr("Reading run %1").arg(record.id), QStringLiteral("store"), this,
      [store, id = record.id](Progress&) { return store->attempts(id).value(); },
      [this, asked, tell](const Result<std::vector<AttemptRecord>>& attempts) {
        if (asked != request_ || !attempts || attempts.value().empty()) return;
        const AttemptRecord& last = attempts.value().back();
        error_ = plainLine(QString::fromStdString(last.error), 600);
        if (error_.isEmpty() && last.ended.empty()) error_ = tr("ended without a word, or still runs in another window.");
        tell();
      });
}

void RunPane::goOn() {
  const RunRecord* record = session_.findRun(run_);
  if (!record) return;
  if (remedyOpens_) {
    session_.openModel(QString::fromStdString(record->spec.model_path), session_.model(0) ? 1 : 0);
    return;
  }
  QString why;
  const auto request = requestOf(session_, *record, &why);
  if (!request) {
    panel_.showNotice(why);
    return;
  }
  job_ = session_.run(*request);
  if (job_ == 0) return;
  state_->setText(tr("Going on"), tr("The result fills in here."));
  strip_->setJob(job_, tr("Run %1").arg(run_));
}

}  // namespace microtome::desktop
