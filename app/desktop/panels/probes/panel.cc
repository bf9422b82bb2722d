// Head scores: what every head is good for, layer by head, both models on one scale.
#include <QComboBox>
#include <QProgressBar>
#include <QScrollArea>
#include <QShortcut>
#include <QTimer>
#include <QToolButton>
#include <algorithm>

#include "app/desktop/panels/probes/column.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

// An analysis that scores heads: one of its outputs is [layer, head].
bool scoresHeads(const AnalysisInfo& info) {
  return std::any_of(info.outputs.begin(), info.outputs.end(), [](const OutputInfo& o) {
    return o.axes == std::vector<std::string>{"layer", "head"} || o.axes == std::vector<std::string>{"layer", "pos|head"};
  });
}

class ProbesPanel : public Panel {
 public:
  ProbesPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override {
    std::vector<View*> out;
    for (const ScoreColumn* c : columns_)
      if (c->isVisibleTo(pair_))
        for (View* v : c->shownViews()) out.push_back(v);
    return out;
  }
  QByteArray saveState() const override { return pair_->saveState(); }
  void restoreState(const QByteArray& state) override { pair_->restoreState(state); }

 protected:
  void refresh() override;

 private:
  void fillChoice();
  void look(int slot);
  void run(int slot);
  void shareScales();
  void poll();
  QString chosen() const { return from_->currentData().toString(); }
  QComboBox* from_;
  QToolButton* more_;
  QPushButton *run_, *cancel_;
  QProgressBar* bar_;
  QScrollArea* formArea_;
  ParamForm* form_;
  QSplitter* pair_;
  ScoreColumn* columns_[Session::kSlots];
  qint64 jobs_[Session::kSlots] = {0, 0}, loaded_[Session::kSlots] = {-1, -1};
  RunViewPtr runs_[Session::kSlots];
  QTimer timer_;
};

ProbesPanel::ProbesPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  auto* label = new QLabel(tr("Scores from"), this);
  label->setProperty("role", QStringLiteral("muted"));
  from_ = new QComboBox(this);
  from_->setObjectName(QStringLiteral("probes_from"));
  from_->setAccessibleName(tr("Analysis that scores the heads"));
  from_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  guardWheel(from_);
  more_ = new QToolButton(this);
  more_->setText(tr("Settings"));
  more_->setCheckable(true);
  bar_ = new QProgressBar(this);
  bar_->setRange(0, 1000);
  bar_->setTextVisible(true);
  bar_->setFormat(QStringLiteral("%p %"));
  bar_->setMaximumWidth(160);
  bar_->hide();
  cancel_ = new QPushButton(tr("Cancel"), this);
  cancel_->hide();
  run_ = new QPushButton(tr("Run"), this);
  run_->setObjectName(QStringLiteral("probes_run"));
  run_->setProperty("primary", true);
  run_->setToolTip(tr("Score the heads of every open model (Ctrl+Return)"));
  row->addWidget(label);
  row->addWidget(from_);
  row->addWidget(more_);
  row->addStretch(1);
  row->addWidget(bar_);
  row->addWidget(cancel_);
  row->addWidget(run_);
  body()->addLayout(row);
  formArea_ = new QScrollArea(this);
  formArea_->setWidgetResizable(true);
  formArea_->setMaximumHeight(176);
  form_ = new ParamForm(formArea_);
  formArea_->setWidget(form_);
  formArea_->hide();
  body()->addWidget(formArea_);
  pair_ = new QSplitter(Qt::Horizontal, this);
  pair_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    ScoreColumn* c = columns_[slot] = new ScoreColumn(*this, slot, pair_);
    c->setObjectName(QStringLiteral("probes_%1").arg(slot));
    pair_->addWidget(c);
    connect(c, &ScoreColumn::pressed, this, [this, slot] {
      if (this->session().model(slot)) run(slot);
      else this->session().openDemo();
    });
    connect(c, &ScoreColumn::headPicked, this, [this, slot](int layer, int head) {
      this->session().selection().setModel(slot);
      this->session().selection().setHead(layer, head);
    });
  }
  body()->addWidget(pair_, 1);
  connect(more_, &QToolButton::toggled, formArea_, &QWidget::setVisible);
  connect(from_, &QComboBox::currentIndexChanged, this, [this] {
    if (const app::AnalysisFacts* a = this->session().findAnalysis(chosen())) form_->setSchema(a->schema);
    refresh();
  });
  connect(run_, &QPushButton::clicked, this, [this] {
    QString why;
    if (!form_->isValid(&why)) {
      showProblem(why);
      return;
    }
    for (int slot = 0; slot < Session::kSlots; ++slot)
      if (this->session().model(slot)) run(slot);
  });
  connect(cancel_, &QPushButton::clicked, this, [this] {
    for (qint64 job : jobs_)
      if (job) this->session().cancel(job);
  });
  for (Qt::Key key : {Qt::Key_Return, Qt::Key_Enter}) {
    auto* go = new QShortcut(QKeySequence(Qt::CTRL | key), this);
    go->setContext(Qt::WidgetWithChildrenShortcut);
    connect(go, &QShortcut::activated, run_, &QPushButton::click);
  }
  timer_.setInterval(200);
  connect(&timer_, &QTimer::timeout, this, &ProbesPanel::poll);
  connect(&session, &Session::runFinished, this, [this](qint64 job, const QString&, int slot, const RunViewPtr&) {
    if (jobs_[slot] != job) return;
    jobs_[slot] = 0;
    poll();
  });
  connect(&session, &Session::runFailed, this, [this](qint64 job, const QString&, int slot, const QString& sentence, bool cancelled) {
    if (jobs_[slot] != job) return;
    jobs_[slot] = 0;
    cancelled ? showNotice(sentence) : showProblem(sentence);
    poll();
    scheduleRefresh();
  });
  const auto again = [this] { scheduleRefresh(); };
  connect(&session, &Session::engineChanged, this, again);
  connect(&session, &Session::modelChanged, this, again);
  connect(&session, &Session::openingChanged, this, again);
  connect(&session, &Session::runsChanged, this, again);
  connect(&session, &Session::projectChanged, this, [this] {
    for (qint64& id : loaded_) id = -1;
    scheduleRefresh();
  });
  connect(&session.selection(), &Selection::headChanged, this, [this](int layer, int head) {
    for (ScoreColumn* c : columns_) c->select(layer, head);
  });
}

void ProbesPanel::fillChoice() {
  if (from_->count() || session().analyses().empty()) return;
  const QSignalBlocker quiet(from_);
  for (const app::AnalysisFacts& a : session().analyses())
    if (scoresHeads(a.info)) from_->addItem(QString::fromStdString(a.info.title), QString::fromStdString(a.info.name));
  const int panelOfScores = from_->findData(QStringLiteral("head_probes"));
  from_->setCurrentIndex(std::max(0, panelOfScores));
  if (const app::AnalysisFacts* a = session().findAnalysis(chosen())) form_->setSchema(a->schema);
}

void ProbesPanel::refresh() {
  fillChoice();
  run_->setEnabled(session().model(0) != nullptr && from_->count() > 0);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    columns_[slot]->setVisible(slot == 0 || session().comparing());
    columns_[slot]->setNameShown(session().comparing());
    look(slot);
  }
}

// The newest finished run of the chosen analysis on the slot's model.
void ProbesPanel::look(int slot) {
  if (!session().model(slot)) {
    loaded_[slot] = -1;
    columns_[slot]->show(nullptr, session().opening(slot) ? tr("Opening…") : tr("No model is open"), tr("Open a model folder, or try the demo."), session().opening(slot) ? QString() : tr("Try the demo"));
    return;
  }
  qint64 newest = 0;
  for (const RunRecord& r : session().runs())
    if (r.state == RunStatus::kDone && QString::fromStdString(r.analysis) == chosen() && slotOfModel(session(), r) == slot) {
      newest = r.id;
      break;
    }
  const app::AnalysisFacts* a = session().findAnalysis(chosen());
  if (!newest) {
    loaded_[slot] = 0;
    columns_[slot]->show(nullptr, jobs_[slot] ? tr("Running…") : tr("Not scored yet"), a ? QString::fromStdString(a->info.definition) : QString(), jobs_[slot] ? QString() : tr("Run"));
    return;
  }
  if (newest == loaded_[slot]) {
    columns_[slot]->show(runs_[slot], {}, {}, {});
    return;
  }
  loaded_[slot] = newest;
  session().loadRun(newest, this, [this, slot, newest](RunViewPtr run) {
    if (loaded_[slot] != newest) return;
    runs_[slot] = run;
    columns_[slot]->show(run, tr("No head scores in this run"), tr("Its arrays have other axes than layer and head: Results shows them. Choose another analysis, or run it by head."), {});
    shareScales();
    columns_[slot]->select(session().selection().layer(), session().selection().head());
  });
}

void ProbesPanel::run(int slot) {
  RunRequest request;
  request.analysis = chosen();
  request.params = form_->values();
  request.slot = slot;
  jobs_[slot] = session().run(request, QStringLiteral("probes-%1").arg(slot));
  if (jobs_[slot]) timer_.start();
  poll();
  refresh();
}

void ProbesPanel::poll() {
  double sum = 0;
  int n = 0;
  for (const JobSnapshot& j : session().jobs())
    for (qint64 job : jobs_)
      if (job && j.id == job) {
        sum += j.progress.fraction;
        ++n;
      }
  bar_->setVisible(n > 0);
  cancel_->setVisible(n > 0);
  if (n) bar_->setValue(static_cast<int>(1000 * sum / n));
  else timer_.stop();
}

// A colour means the same in both models: maps of one name share their scale.
void ProbesPanel::shareScales() {
  for (HeatMapView* left : columns_[0]->maps())
    for (HeatMapView* right : columns_[1]->maps()) {
      if (left->objectName() != right->objectName() || !columns_[1]->isVisibleTo(pair_)) continue;
      const auto a = left->scale(), b = right->scale();
      const double lo = std::min(a.first, b.first), hi = std::max(a.second, b.second);
      left->setScale(lo, hi);
      right->setScale(lo, hi);
    }
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_probes(Registry& registry) {
  using namespace desktop;
  const PanelInfo info = {QStringLiteral("probes"), QObject::tr("Probes"), QObject::tr("Scores of every head, layer by head"), PanelArea::kCentre, 50, QStringLiteral("Ctrl+5")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new ProbesPanel(session, info, parent); }});
}

}  // namespace microtome::panels
