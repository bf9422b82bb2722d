#include "app/desktop/panels/features/features_panel.h"

#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QShortcut>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QToolButton>
#include <algorithm>
#include <utility>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/feature_set_view.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

const QString kAnalysis = QStringLiteral("features");

bool holdsFeatures(const RunRecord& r) {
  return r.state == RunStatus::kDone && QString::fromStdString(r.spec.analysis.empty() ? r.analysis : r.spec.analysis) == kAnalysis;
}

QString pathOf(const RunRecord& r) {
  const auto at = r.spec.cost_params.find("dictionary_path");
  return at == r.spec.cost_params.end() ? QString() : QString::fromStdString(at->second);
}

// "stories-sae · zoo-llama · run 12": the folder's name is what a person knows it by.
QString runText(const RunRecord& r) {
  const QString path = pathOf(r);
  QStringList parts = {path.isEmpty() ? runTitle(r) : labelText(path.section(QLatin1Char('/'), -1, -1, QString::SectionSkipEmpty).toStdString(), 60), runModel(r), QObject::tr("run %1").arg(r.id)};
  return parts.join(QStringLiteral(" · "));
}

QToolButton* toggle(QWidget* parent, const char* name, const QString& text, const QString& tip) {
  auto* b = new QToolButton(parent);
  b->setObjectName(QString::fromLatin1(name));
  b->setText(text);
  b->setToolTip(tip);
  b->setCheckable(true);
  b->setFocusPolicy(Qt::StrongFocus);
  return b;
}

}  // namespace

FeaturesPanel::FeaturesPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent), trained_(session, this) {
  body()->setSpacing(kGrid / 2);
  bar_ = new QWidget(this);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  runsLabel_ = new QLabel(tr("features of"), bar_);
  runsLabel_->setProperty("role", QStringLiteral("muted"));
  runs_ = new QComboBox(bar_);
  runs_->setObjectName(QStringLiteral("features_runs"));
  runs_->setAccessibleName(tr("Dashboards that the project holds"));
  runs_->setToolTip(tr("Dashboards that the project holds, the newest first"));
  runs_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  guardWheel(runs_);
  build_ = toggle(bar_, "features_build", tr("Build dashboards…"), tr("Run a dictionary over a corpus and keep what each of its features fires on"));
  steer_ = toggle(bar_, "features_steer", tr("Steer"), tr("Add the chosen feature's direction and see what the model then writes (Ctrl+T)"));
  row->addWidget(runsLabel_);
  row->addWidget(runs_, 1);
  row->addWidget(steer_);
  row->addWidget(build_);
  body()->addWidget(bar_);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  splitter_ = new QSplitter(Qt::Vertical, stack_);
  splitter_->setChildrenCollapsible(false);
  set_ = new FeatureSetView(splitter_);
  set_->setObjectName(QStringLiteral("features_view"));
  set_->setLabelsEditable(true);
  steering_ = new SteerPane(*this, splitter_);
  steering_->hide();
  splitter_->addWidget(set_);
  splitter_->addWidget(steering_);
  splitter_->setStretchFactor(0, 1);
  splitter_->setStretchFactor(1, 0);
  adopt(set_);
  adopt(set_->dashboard());
  page_ = new QWidget(stack_);
  auto* page = new QVBoxLayout(page_);
  page->setContentsMargins(0, 0, 0, 0);
  DictionaryUse use;
  use.analysis = kAnalysis;
  use.param = "dictionary";
  use.first = {"dictionary", "corpus", "tokens", "features", "hook"};
  form_ = new DictionaryForm(*this, trained_, use, page_);
  page->addWidget(form_);
  stack_->addWidget(empty_);
  stack_->addWidget(splitter_);
  stack_->addWidget(page_);
  body()->addWidget(stack_, 1);

  connect(empty_, &EmptyState::pressed, this, [this] {
    if (!this->session().model(0)) this->session().openDemo();
    else showBuild(true);
  });
  connect(build_, &QToolButton::clicked, this, [this](bool on) { showBuild(on); });
  connect(steer_, &QToolButton::toggled, this, [this](bool on) {
    steering_->setVisible(on);
    if (on) {
      if (const PromptPair* pair = this->session().currentPair(0)) steering_->setPromptIfEmpty(QString::fromStdString(pair->clean));
      if (!isVisible()) return;
      if (auto* field = steering_->findChild<QLineEdit*>(QStringLiteral("steer_prompt"))) field->setFocus(Qt::OtherFocusReason);
    }
  });
  connect(runs_, &QComboBox::activated, this, [this] {
    picked_ = true;
    load(runs_->currentData().toLongLong());
  });
  connect(set_, &FeatureSetView::featureChosen, this, &FeaturesPanel::chosen);
  connect(set_, &FeatureSetView::labelEdited, this, [this](qint64 feature, const QString& text) {
    this->session().setFeatureLabel(run_, feature, set_->label(feature), text);
  });
  connect(&session, &Session::featureLabelChanged, this, [this](qint64 run, qint64 feature, const QString& text) {
    if (run == run_) set_->setLabel(feature, text);
  });
  connect(form_, &DictionaryForm::finished, this, [this](const RunViewPtr& run) {
    picked_ = true;
    showBuild(false);
    // The list of runs is read anew at about the same time; it may not have this one yet.
    if (this->session().findRun(run->record.id)) load(run->record.id);
    else this->session().selection().setRun(run->record.id);
  });
  connect(set_, &FeatureSetView::opened, this, &FeaturesPanel::loaded);
  const auto again = [this] { scheduleRefresh(); };
  connect(&session, &Session::engineChanged, this, again);
  connect(&session, &Session::modelChanged, this, again);
  connect(&session, &Session::openingChanged, this, again);
  connect(&session, &Session::runsChanged, this, again);
  connect(&trained_, &TrainingRuns::changed, this, again);
  connect(&session, &Session::projectChanged, this, [this] {
    run_ = loading_ = 0;
    picked_ = false;
    set_->setSet(nullptr);
    scheduleRefresh();
  });
  connect(&session.selection(), &Selection::runChanged, this, [this] { followRun(); });
  // Another panel wants one of this set's features.
  connect(&session.selection(), &Selection::nodeChanged, this, [this](const QString& name) {
    const QString lead = tr("feature %1").arg(QString());
    bool good = false;
    const qint64 feature = name.startsWith(lead) ? name.mid(lead.size()).toLongLong(&good) : -1;
    if (!good) return;
    wanted_ = loading_ ? feature : -1;
    if (!loading_) set_->choose(feature);
  });
  auto* find = new QShortcut(QKeySequence(QKeySequence::Find), this);
  find->setContext(Qt::WidgetWithChildrenShortcut);
  connect(find, &QShortcut::activated, this, [this] { set_->searchField()->setFocus(Qt::ShortcutFocusReason); });
  auto* steer = new QShortcut(QKeySequence(QStringLiteral("Ctrl+T")), this);
  steer->setContext(Qt::WidgetWithChildrenShortcut);
  connect(steer, &QShortcut::activated, steer_, &QToolButton::toggle);
}

std::vector<const RunRecord*> FeaturesPanel::stored() const {
  std::vector<const RunRecord*> out;
  for (const RunRecord& r : session().runs())
    if (holdsFeatures(r)) out.push_back(&r);
  return out;
}

void FeaturesPanel::followRun() {
  const RunRecord* r = session().findRun(session().selection().run());
  if (!r) return;
  if (holdsFeatures(*r)) {
    picked_ = true;
    if (isVisible()) load(r->id);
    return;
  }
  // A dictionary just trained: its dashboards, or the form that builds them.
  if (!trainsDictionaries(*r) || r->state != RunStatus::kDone) return;
  for (const RunRecord* f : stored()) {
    const QString path = pathOf(*f);
    const TrainingFactsPtr facts = trained_.facts(r->id);
    if (!facts) continue;
    for (const TrainingFacts::Made& m : facts->dictionaries)
      if (path == trained_.folderOf(*r, m.name)) {
        picked_ = true;
        showBuild(false);
        return load(f->id);
      }
  }
  form_->refresh();
  if (form_->chooseTrained(r->id)) showBuild(true);
}

void FeaturesPanel::refresh() {
  trained_.read();
  form_->refresh();
  fillRuns();
  const std::vector<const RunRecord*> all = stored();
  const qint64 selected = session().selection().run();
  const bool has = std::any_of(all.begin(), all.end(), [&](const RunRecord* r) { return r->id == selected; });
  const bool gone = run_ != 0 && std::none_of(all.begin(), all.end(), [&](const RunRecord* r) { return r->id == run_; });
  if (gone) {
    run_ = 0;
    set_->setSet(nullptr);
  }
  if (picked_ && has && selected != run_) load(selected);
  else if (run_ == 0 && !all.empty()) load(all.front()->id);
  chosen(set_->feature());
  showState();
}

void FeaturesPanel::fillRuns() {
  const QSignalBlocker quiet(runs_);
  runs_->clear();
  for (const RunRecord* r : stored()) {
    runs_->addItem(runText(*r), static_cast<qint64>(r->id));
    runs_->setItemData(runs_->count() - 1, tipText(pathOf(*r) + QStringLiteral("\n") + longTime(r->created)), Qt::ToolTipRole);
  }
  runs_->setCurrentIndex(runs_->findData(static_cast<qint64>(loading_ ? loading_ : run_)));
}

void FeaturesPanel::load(qint64 run) {
  const RunRecord* record = session().findRun(run);
  if (!record || run == loading_ || run == run_) return;
  const std::shared_ptr<ResultStore> store = session().store();
  if (!store) return;
  loading_ = run;
  set_->setCommand(QString::fromStdString(record->command.empty() ? record->spec.command : record->command));
  // Rows and dashboards are read as they are looked at: a set has tens of thousands of features.
  FeatureSetView::Stored from;
  from.find = [this, store, run](const FeatureQuery& query, std::function<void(const Result<ResultStore::FeaturePage>&)> done) {
    session().post(tr("Reading the features of run %1").arg(run), QStringLiteral("store"), this, [store, run, query](Progress&) { return store->search_features(run, query).value(); }, std::move(done));
  };
  from.feature = [this, store, run](qint64 feature, std::function<void(const Result<FeatureSet>&)> done) {
    session().post(tr("Reading feature %1").arg(feature), QStringLiteral("store"), this, [store, run, feature](Progress&) { return store->feature(run, feature).value(); }, std::move(done));
  };
  set_->setStored(std::move(from), std::exchange(wanted_, -1));
}

void FeaturesPanel::loaded(const QString& why) {
  const qint64 run = std::exchange(loading_, 0);
  if (run == 0) return;
  if (!why.isEmpty()) return showNotice(why);
  const RunRecord* record = session().findRun(run);
  const FeatureSet* features = set_->set();
  if (!record || !features) return;
  run_ = run;
  set_->setTitle(tr("Features of %1").arg(features->dictionary.empty() ? runTitle(*record) : labelText(features->dictionary, 80)));
  set_->setSource(run_, QString::fromStdString(features->name));
  if (wanted_ >= 0) set_->choose(std::exchange(wanted_, -1));
  fillRuns();
  showState();
}

void FeaturesPanel::chosen(qint64 feature) {
  const FeatureSet::Feature* shown = set_->dashboard()->shown();
  QString path;
  int slot = -1;
  if (const RunRecord* r = session().findRun(run_)) {
    path = pathOf(*r);
    slot = slotOfModel(session(), *r);
  }
  steering_->setFeature(feature, shown ? shown->max : 0, path, slot);
  if (feature >= 0 && isVisible() && set_->set()) session().selection().setNode(tr("feature %1 of %2").arg(feature).arg(labelText(set_->set()->hook, 80)));
}

void FeaturesPanel::showBuild(bool on) {
  build_->setChecked(on);
  if (on) {
    form_->refresh();
    stack_->setCurrentWidget(page_);
  } else {
    showState();
  }
}

void FeaturesPanel::showState() {
  const bool any = run_ != 0 && set_->set();
  steer_->setVisible(any && !build_->isChecked());
  runs_->setEnabled(runs_->count() > 0);
  runs_->setVisible(runs_->count() > 0);
  runsLabel_->setVisible(runs_->count() > 0);
  bar_->setVisible(any || build_->isChecked());
  if (build_->isChecked()) return;
  if (any) {
    stack_->setCurrentWidget(splitter_);
    return;
  }
  Session& s = session();
  if (loading_ != 0) empty_->setText(tr("Reading…"), tr("The dashboards of run %1 are read from the project.").arg(loading_));
  else if (!s.engineReady()) empty_->setText(tr("Getting the analyses"), tr("The core is being opened; this takes a moment after the start."));
  else if (!s.findAnalysis(kAnalysis)) empty_->setText(tr("No dashboards here"), tr("This build has no analysis that makes them; dashboards that a project holds are shown."));
  else if (!s.model(0))
    empty_->setText(s.opening(0) ? tr("Opening the model") : tr("Look through a dictionary's features"),
                    s.opening(0) ? tr("One moment.") : tr("Open the model that a sparse autoencoder or transcoder belongs to, or see the two models that ship with Microtome."),
                    s.opening(0) ? QString() : tr("Try the demo"));
  else
    empty_->setText(tr("No dashboards yet"),
                    tr("A dictionary is run over a corpus: what each of its features fires on, how often, what it raises and lowers. Take one from the disk, or one trained in Training."),
                    tr("Build dashboards…"));
  stack_->setCurrentWidget(empty_);
}

std::vector<View*> FeaturesPanel::views() const {
  if (stack_->currentWidget() != splitter_ || !set_->set()) return {};
  return {set_->dashboard()};
}

QByteArray FeaturesPanel::saveState() const {
  QByteArray out;
  QDataStream s(&out, QIODevice::WriteOnly);
  s << qint32(1) << splitter_->saveState() << set_->splitter()->saveState() << steer_->isChecked() << form_->saveState();
  return out;
}

void FeaturesPanel::restoreState(const QByteArray& state) {
  QDataStream s(state);
  qint32 version = 0;
  QByteArray splitter, set, form;
  bool steer = false;
  s >> version >> splitter >> set >> steer >> form;
  if (s.status() != QDataStream::Ok || version != 1) return;
  splitter_->restoreState(splitter);
  set_->splitter()->restoreState(set);
  steer_->setChecked(steer);
  form_->restoreState(form);
}

}  // namespace microtome::desktop
