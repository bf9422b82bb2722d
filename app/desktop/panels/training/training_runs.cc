// Runs of the training panel: started, watched, paused, resumed, stopped.
#include <QComboBox>
#include <QKeyEvent>
#include <QLabel>
#include <QPushButton>
#include <QStackedWidget>
#include <QTableView>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/panels/training/curves.h"
#include "app/desktop/panels/training/training_panel.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {

void TrainingPanel::connectSession() {
  Session& s = session();
  const auto again = [this] { scheduleRefresh(); };
  connect(&s, &Session::engineChanged, this, again);
  connect(&s, &Session::modelChanged, this, again);
  connect(&s, &Session::openingChanged, this, again);
  connect(&s, &Session::runsChanged, this, again);
  connect(&s, &Session::deviceChanged, this, again);
  connect(&s, &Session::projectChanged, this, [this] {
    paused_.clear();
    scheduleRefresh();
  });
  connect(&trained_, &TrainingRuns::changed, this, again);
  connect(&s, &Session::runPreview, this, [this](qint64 job, const QString&, int, const std::shared_ptr<const AnalysisResult>& soFar) {
    Live* l = liveOf(job);
    if (!l) return;
    l->facts = std::make_shared<const TrainingFacts>(trainingFactsOf(*soFar));
    if (isVisible()) draw();
  });
  connect(&s, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (!liveOf(job)) return;
    forgetLive(job);
    if (run->record.id != 0) list_->setChecked(run->record.id, true);
    paused_.erase(run->record.id);
    scheduleRefresh();
  });
  connect(&s, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& sentence, bool cancelled) {
    Live* l = liveOf(job);
    if (!l) return;
    // The list is read anew after this: what belongs to the job is then known by its command.
    const QString command = l->command;
    const TrainingFactsPtr facts = l->facts;
    const bool stopped = l->stopped;
    forgetLive(job);
    if (!cancelled) showProblem(sentence);
    else if (!stopped) showNotice(tr("Paused: the run's state is kept, Resume goes on where it was."));
    auto link = std::make_shared<QMetaObject::Connection>();
    auto looks = std::make_shared<int>(0);
    *link = connect(&session(), &Session::runsChanged, this, [this, link, looks, command, facts, stopped] {
      qint64 run = 0;
      for (const RunRecord* r : trained_.list())
        if (run == 0 && QString::fromStdString(r->command.empty() ? r->spec.command : r->command) == command && r->state != RunStatus::kDone) run = r->id;
      // A run that ended before it was stored never comes: a later one of the same command is another.
      if (run != 0 || ++*looks >= 3) disconnect(*link);
      if (run == 0) return;
      if (stopped) {
        session().deleteRun(run);
        showNotice(tr("Run %1 is in the trash: Ctrl+Z brings it back.").arg(run));
      } else {
        if (facts) paused_[run] = facts;
        list_->setChecked(run, true);
      }
    });
  });
}

void TrainingPanel::refresh() {
  fillAnalyses();
  trained_.read();
  {
    const QSignalBlocker quiet(models_);
    const QVariant chosen = models_->currentData();
    models_->clear();
    for (int slot = 0; slot < Session::kSlots; ++slot)
      if (session().model(slot)) models_->addItem(labelText(session().model(slot)->facts().name, 60), slot);
    models_->setCurrentIndex(std::max(0, models_->findData(chosen)));
    models_->setVisible(models_->count() > 1);
    modelLabel_->setVisible(models_->count() > 1);
  }
  offerHooks();
  fillRows();
  draw();
  showState();
}

void TrainingPanel::showState() {
  Session& s = session();
  const bool nothing = list_->rowCount() == 0 && live_.empty();
  if (!s.engineReady() || (s.analyses().empty())) {
    empty_->setText(tr("Getting the analyses"), tr("The core is being opened; this takes a moment after the start."));
  } else if (analyses_->count() == 0 && nothing) {
    empty_->setText(tr("Nothing trains here"), tr("This build has no analysis that trains dictionaries."));
  } else if (!s.model(0) && nothing) {
    if (s.opening(0)) empty_->setText(tr("Opening the model"), tr("One moment."));
    else
      empty_->setText(tr("Train a sparse dictionary"),
                      tr("A sparse autoencoder or transcoder is trained on the activations of a model over a text. Open a model folder, or see the two models that ship with Microtome."),
                      tr("Try the demo"));
  } else {
    stack_->setCurrentWidget(splitter_);
    QString why;
    const bool can = canRun(&why);
    start_->setEnabled(can);
    copy_->setEnabled(analyses_->count() > 0);
    hint_->setText(can ? QString() : why);
    hint_->setVisible(!can && !why.isEmpty());
    rowChanged();
    return;
  }
  stack_->setCurrentWidget(empty_);
}

RunRequest TrainingPanel::request() const {
  RunRequest out;
  out.analysis = analysis_;
  out.params = form_->values();
  out.slot = models_->count() > 0 ? models_->currentData().toInt() : 0;
  return out;
}

bool TrainingPanel::canRun(QString* why) const {
  const int slot = models_->count() > 0 ? models_->currentData().toInt() : 0;
  if (analysis_.isEmpty()) return *why = tr("This build has no analysis that trains dictionaries."), false;
  if (!session().model(slot)) return *why = session().opening(slot) ? tr("The model is being opened.") : tr("No model is open: open a model folder, or try the demo."), false;
  if (!form_->isValid(why)) {
    if (!why->isEmpty()) (*why)[0] = (*why)[0].toUpper();
    return false;
  }
  // The one thing without a sensible default.
  const app::AnalysisFacts* a = session().findAnalysis(analysis_);
  if (a && a->schema.find("corpus")) {
    const auto values = form_->values();
    const auto given = values.find("corpus");
    const std::string corpus = given != values.end() ? given->second : param_text(a->schema.find("corpus")->fallback);
    if (corpus.empty()) return *why = tr("Choose a corpus: a text file, JSON lines, or a file of token ids."), false;
  }
  return true;
}

void TrainingPanel::start(const RunRequest& asked) {
  const QString command = session().commandFor(asked);
  for (const Live& l : live_)
    if (l.command == command) return showNotice(tr("This run is being trained already."));
  clearBar();
  const qint64 job = session().run(asked);
  if (job == 0) return;
  Live l;
  l.job = job;
  l.request = asked;
  l.command = command;
  const app::AnalysisFacts* a = session().findAnalysis(asked.analysis);
  QStringList what = {a ? labelText(a->info.title, 60) : asked.analysis};
  for (const char* name : {"kind", "variant", "hook", "layers"})
    if (const auto at = asked.params.find(name); at != asked.params.end()) what << labelText(at->second, 60);
  l.what = what.join(QStringLiteral(" · "));
  // A strip a job: progress, Pause, Stop.
  l.strip = new QWidget(this);
  auto* row = new QHBoxLayout(l.strip);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  auto* strip = new JobStrip(session(), l.strip);
  strip->setCancelText(tr("Pause"), tr("Keeps the run's state in the project: Resume goes on where it was, with the same numbers"));
  auto* stopButton = new QPushButton(tr("Stop"), l.strip);
  stopButton->setObjectName(QStringLiteral("training_stop"));
  stopButton->setToolTip(tr("Ends the run and moves it to the trash; Ctrl+Z brings it back, paused"));
  row->addWidget(strip, 1);
  row->addWidget(stopButton);
  strips_->addWidget(l.strip);
  strip->setJob(job, labelText(session().model(asked.slot)->facts().name, 40));
  connect(stopButton, &QPushButton::clicked, this, [this, job] { stop(job); });
  // What was drawn of the same run before it was paused stays until there is more.
  for (const RunRecord* r : trained_.list())
    if (QString::fromStdString(r->command.empty() ? r->spec.command : r->command) == command)
      if (const auto at = paused_.find(r->id); at != paused_.end()) l.facts = at->second;
  live_.push_back(std::move(l));
  list_->setChecked(-job, true);
  fillRows();
  selectKey(-job);
  draw();
  showState();
}

TrainingPanel::Live* TrainingPanel::liveOf(qint64 job) {
  for (Live& l : live_)
    if (job != 0 && l.job == job) return &l;
  return nullptr;
}

void TrainingPanel::forgetLive(qint64 job) {
  const auto at = std::find_if(live_.begin(), live_.end(), [job](const Live& l) { return l.job == job; });
  if (at == live_.end()) return;
  at->strip->hide();
  at->strip->deleteLater();
  list_->setChecked(-job, false);
  live_.erase(at);
}

void TrainingPanel::fillRows() {
  std::vector<TrainingRunList::Row> rows;
  for (const Live& l : live_) {
    TrainingRunList::Row row;
    row.job = l.job;
    row.dictionary = l.what;
    row.state = tr("running");
    row.tip = l.command;
    fillNumbers(row, nullptr);
    rows.push_back(std::move(row));
  }
  bool checked = false;
  for (const RunRecord* r : trained_.list()) {
    const QString command = QString::fromStdString(r->command.empty() ? r->spec.command : r->command);
    if (std::any_of(live_.begin(), live_.end(), [&](const Live& l) { return l.command == command; })) continue;
    const TrainingFactsPtr facts = trained_.facts(r->id);
    TrainingRunList::Row row;
    row.run = r->id;
    row.dictionary = dictionaryText(r, facts.get());
    fillNumbers(row, facts.get());
    row.resumable = r->state != RunStatus::kDone;
    const QString state = runStateText(*r);
    // A state is kept inside an item too: a run without a whole item may be far on.
    row.state = r->state == RunStatus::kNew || (r->state == RunStatus::kPartial && r->items_done == 0) ? tr("paused")
                : r->state == RunStatus::kPartial                                                      ? tr("paused, %1").arg(state)
                                                                                                       : state;
    row.tip = runModel(*r) + QStringLiteral(" · ") + longTime(r->created) + (r->note.empty() ? QString() : QStringLiteral(" · ") + labelText(r->note, 200));
    checked = checked || list_->isChecked(row.run);
    rows.push_back(std::move(row));
  }
  const bool any = live_.empty() && !checked && !rows.empty();
  const qint64 newest = rows.empty() ? 0 : rows.front().key();
  const qint64 selected = selectedRow() ? selectedRow()->key() : 0;
  list_->setRows(std::move(rows));
  // The newest is drawn until somebody chooses.
  if (any) list_->setChecked(newest, true);
  selectKey(selected);
  if (!selectedRow()) selectKey(newest);
}

void TrainingPanel::draw() {
  std::vector<DrawnRun> drawn, finished;
  for (const TrainingRunList::Row& row : list_->rows()) {
    DrawnRun run;
    run.key = row.key();
    run.name = row.run ? tr("run %1").arg(row.run) : tr("running");
    if (row.job) {
      for (const Live& l : live_)
        if (l.job == row.job) {
          run.facts = l.facts;
          run.command = l.command;
          if (live_.size() > 1) run.name += QStringLiteral(" ") + QString::number(l.job);
        }
    } else {
      run.facts = trained_.facts(row.run);
      // What was seen here reaches further than what was read.
      if (const auto at = paused_.find(row.run); row.resumable && at != paused_.end()) run.facts = at->second;
      if (const RunRecord* r = session().findRun(row.run)) run.command = QString::fromStdString(r->command.empty() ? r->spec.command : r->command);
      if (!row.resumable) finished.push_back(run);
    }
    if (list_->isChecked(row.key()) && run.facts) drawn.push_back(std::move(run));
  }
  curves_->setRuns(drawn);
  curves_->setFinished(finished);
}

const TrainingRunList::Row* TrainingPanel::selectedRow() const {
  const int row = table_->currentIndex().row();
  return row >= 0 && row < static_cast<int>(list_->rows().size()) ? &list_->rows()[static_cast<size_t>(row)] : nullptr;
}

void TrainingPanel::selectKey(qint64 key) {
  for (size_t i = 0; i < list_->rows().size(); ++i)
    if (list_->rows()[i].key() == key && table_->currentIndex().row() != static_cast<int>(i)) table_->setCurrentIndex(list_->index(static_cast<int>(i), TrainingRunList::kDictionary));
}

void TrainingPanel::rowChanged() {
  const TrainingRunList::Row* row = selectedRow();
  const bool stored = row && row->run != 0;
  resume_->setEnabled(stored && row->resumable);
  results_->setEnabled(stored && !row->resumable);
  dashboards_->setEnabled(stored && !row->resumable);
  trash_->setEnabled(stored);
}

void TrainingPanel::resume() {
  const TrainingRunList::Row* row = selectedRow();
  const RunRecord* record = row && row->run ? session().findRun(row->run) : nullptr;
  if (!record || !row->resumable) return;
  QString why;
  std::optional<RunRequest> again = requestOf(session(), *record, &why);
  if (!again) return showNotice(why);
  start(*again);
}

void TrainingPanel::stop(qint64 job) {
  Live* l = liveOf(job);
  if (!l) return;
  l->stopped = true;
  l->strip->setEnabled(false);
  session().cancel(job);
}

void TrainingPanel::toTrash() {
  const TrainingRunList::Row* row = selectedRow();
  if (!row || row->run == 0) return;
  const qint64 run = row->run;
  session().deleteRun(run);
  showNotice(tr("Run %1 is in the trash: Ctrl+Z brings it back.").arg(run));
}

void TrainingPanel::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Delete && table_->hasFocus() && trash_->isEnabled()) {
    toTrash();
    event->accept();
    return;
  }
  Panel::keyPressEvent(event);
}

}  // namespace microtome::desktop
