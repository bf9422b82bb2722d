#include "app/desktop/panels/prompt_run.h"

#include <QLabel>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// What was seen before stays for that long, so that a quick run does not flicker.
constexpr qint64 kPatienceMs = 300;

}  // namespace

PromptRun::PromptRun(Session& session, const QString& analysis, int slot, QObject* parent)
    : QObject(parent), session_(session), analysis_(analysis), slot_(slot) {
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    run_ = run;
    pair_ = wantedPair_;
    model_ = key_.model;
    set(State::kDone);
  });
  connect(&session_, &Session::runFailed, this,
          [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
            if (job_ == 0 || job != job_) return;
            job_ = 0;
            run_.reset();
            set(cancelled ? State::kCancelled : State::kFailed, why);
          });
}

void PromptRun::set(State state, const QString& sentence) {
  state_ = state;
  sentence_ = sentence;
  Q_EMIT changed();
}

void PromptRun::forget() {
  // A run for a prompt that is no longer there is of no use.
  if (job_ != 0) session_.cancel(job_);
  job_ = 0;
  run_.reset();
  model_.reset();
  key_ = {};
  asked_ = false;
}

void PromptRun::ask(const std::map<std::string, std::string>& params) {
  const app::ModelPtr model = session_.model(slot_);
  if (!model) {
    const State state = session_.opening(slot_) ? State::kOpening : State::kNoModel;
    if (state == state_ && !asked_ && !sentence_.isEmpty()) return;
    forget();
    set(state, state == State::kOpening ? tr("The model is being opened…")
                                        : tr("Open a model folder, or see the two models that ship with Microtome."));
    return;
  }
  const PromptPair* pair = session_.currentPair(slot_);
  if (!pair) {
    const PromptSet& prompts = session_.prompts();
    forget();
    if (!prompts.problem[slot_].isEmpty()) set(State::kNoPrompt, prompts.problem[slot_]);
    else if (prompts.source.kind == PromptSource::Kind::kNone || prompts.bySlot[slot_])
      set(State::kNoPrompt, tr("Type a prompt or load a task in Prompts."));
    else set(State::kTokenising, tr("The prompts are being cut into tokens…"));
    return;
  }
  Key key{model, session_.store(), session_.projectPath(), pair->clean_ids, pair->answer_ids, params};
  if (asked_ && key == key_) return;
  // Without a project there is nothing to keep the answer in yet: it opens in a moment.
  if (!session_.engineReady()) return;
  key_ = std::move(key);
  asked_ = true;
  wantedPair_ = *pair;
  start();
}

void PromptRun::again() {
  if (asked_ && job_ == 0) start();
}

void PromptRun::cancel() {
  if (job_ != 0) session_.cancel(job_);
}

void PromptRun::start() {
  RunRequest request;
  request.analysis = analysis_;
  request.params = key_.params;
  request.slot = slot_;
  request.onePrompt = true;
  job_ = session_.run(request, QStringLiteral("%1-%2").arg(analysis_).arg(slot_));
  if (job_ != 0) set(State::kRunning);
  else set(State::kFailed, tr("It could not be started: see the message above."));
}

// ---- the pane ------------------------------------------------------------------------------------------------------

PromptRunPane::PromptRunPane(Session& session, const QString& analysis, int slot, QWidget* parent)
    : QWidget(parent), session_(session), run_(new PromptRun(session, analysis, slot, this)) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  name_ = new QLabel(this);
  name_->setProperty("role", QStringLiteral("section"));
  name_->setTextFormat(Qt::PlainText);
  name_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  name_->setObjectName(QStringLiteral("model_name"));
  name_->hide();
  column->addWidget(name_);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  // An error's text is a file's or a plug-in's: never markup.
  for (QLabel* label : empty_->findChildren<QLabel*>()) label->setTextFormat(Qt::PlainText);
  stack_->addWidget(empty_);
  column->addWidget(stack_, 1);
  timer_.setInterval(100);
  connect(&timer_, &QTimer::timeout, this, &PromptRunPane::look);
  connect(run_, &PromptRun::changed, this, &PromptRunPane::follow);
  connect(empty_, &EmptyState::pressed, this, [this] {
    switch (run_->state()) {
      case PromptRun::State::kNoModel: session_.openDemo(); return;
      case PromptRun::State::kRunning: run_->cancel(); return;
      case PromptRun::State::kFailed:
      case PromptRun::State::kCancelled: run_->again(); return;
      case PromptRun::State::kDone: Q_EMIT answered(); return;
      default: return;
    }
  });
}

void PromptRunPane::setContent(QWidget* content) {
  content_ = content;
  stack_->addWidget(content);
}

void PromptRunPane::setQuestion(const QString& headline, const QString& sentence, const QString& button) {
  asking_ = !headline.isEmpty();
  headline_ = headline;
  sentence_ = sentence;
  button_ = button;
  look();
}

void PromptRunPane::setNameShown(bool on) {
  const app::ModelPtr model = session_.model(run_->slot());
  name_->setText(model ? labelText(model->facts().name, 80) : QString());
  name_->setToolTip(model ? tipText(labelText(model->facts().folder, 400)) : QString());
  name_->setVisible(on && model);
}

bool PromptRunPane::showsContent() const { return content_ && stack_->currentWidget() == content_; }

void PromptRunPane::follow() {
  if (run_->state() == PromptRun::State::kRunning) {
    waiting_.start();
    timer_.start();
  } else {
    timer_.stop();
  }
  if (run_->run() != shown_) {
    shown_ = run_->run();
    asking_ = false;
    Q_EMIT arrived();
  }
  look();
}

void PromptRunPane::look() {
  const auto say = [this](const QString& headline, const QString& sentence, const QString& button = {}) {
    empty_->setText(headline, sentence, button);
    stack_->setCurrentWidget(empty_);
  };
  switch (run_->state()) {
    case PromptRun::State::kNoModel: say(tr("No model is open"), run_->sentence(), tr("Try the demo")); return;
    case PromptRun::State::kOpening: say(tr("Opening…"), run_->sentence()); return;
    case PromptRun::State::kNoPrompt: say(tr("No prompt"), run_->sentence()); return;
    case PromptRun::State::kTokenising: say(tr("Tokenising…"), run_->sentence()); return;
    case PromptRun::State::kFailed: say(tr("This did not work"), run_->sentence(), tr("Run again")); return;
    case PromptRun::State::kCancelled: say(tr("Cancelled"), run_->sentence(), tr("Run again")); return;
    case PromptRun::State::kDone:
      if (asking_) say(headline_, sentence_, button_);
      else if (content_) stack_->setCurrentWidget(content_);
      return;
    case PromptRun::State::kRunning: break;
  }
  if (waiting_.elapsed() < kPatienceMs) return;
  QString headline = tr("Waiting for its turn…"), sentence;
  for (const JobSnapshot& job : session_.jobs()) {
    if (job.id != run_->job()) continue;
    if (job.state == JobState::kRunning)
      headline = tr("Running… %1 %").arg(static_cast<int>(job.progress.fraction * 100));
    sentence = labelText(job.progress.what, 120);
  }
  say(headline, sentence, tr("Cancel"));
}

}  // namespace microtome::desktop
