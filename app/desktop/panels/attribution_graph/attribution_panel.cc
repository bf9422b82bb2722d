// Stored graphs and their states; what is done with one is in attribution_edits.cc.
#include "app/desktop/panels/attribution_graph/attribution_panel.h"

#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QMenu>
#include <QSplitter>
#include <QStackedWidget>
#include <QToolButton>
#include <algorithm>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/panels/result_pane.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

const QString kAnalysis = QStringLiteral("attribution_graph");

bool holdsGraphs(const RunRecord& r) {
  return r.state == RunStatus::kDone && QString::fromStdString(r.spec.analysis.empty() ? r.analysis : r.spec.analysis) == kAnalysis;
}

}  // namespace

AttributionPanel::AttributionPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent), trained_(session, this) {
  body()->setSpacing(kGrid / 2);
  edits_ = new StoredGraphEdits(session, "attribution", this);
  makeBar();
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  content_ = new QWidget(stack_);
  auto* column = new QVBoxLayout(content_);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  strip_ = new JobStrip(session, content_);
  column->addWidget(strip_);
  graph_ = new AttributionView(content_);
  column->addWidget(graph_, 1);
  adopt(graph_->canvas());
  page_ = new QWidget(stack_);
  auto* page = new QVBoxLayout(page_);
  page->setContentsMargins(0, 0, 0, 0);
  DictionaryUse use;
  use.analysis = kAnalysis;
  use.param = "transcoders";
  use.sets = use.transcoders = use.onePrompt = true;
  use.first = {"transcoders", "node_threshold", "edge_threshold", "max_features", "max_nodes", "test_edges"};
  form_ = new DictionaryForm(*this, trained_, use, page_);
  page->addWidget(form_);
  stack_->addWidget(empty_);
  stack_->addWidget(content_);
  stack_->addWidget(page_);
  body()->addWidget(stack_, 1);

  connect(empty_, &EmptyState::pressed, this, [this] {
    if (!this->session().model(0)) this->session().openDemo();
    else showForm(true);
  });
  connect(graph_, &AttributionView::rebuilt, this, [this] {
    places_.clear();
    for (int i = 0; i < static_cast<int>(graph_->canvas()->graph().nodes.size()); ++i) places_.push_back(graph_->canvas()->nodePlace(i));
    applyEdits();
  });
  connect(graph_->canvas(), &GraphView::edited, this, &AttributionPanel::readEdits);
  connect(edits_, &StoredGraphEdits::changed, this, &AttributionPanel::applyEdits);
  connect(graph_, &AttributionView::nodePicked, this, &AttributionPanel::picked);
  connect(graph_, &AttributionView::edgePicked, this, &AttributionPanel::picked);
  connect(graph_, &AttributionView::pickCleared, this, &AttributionPanel::picked);
  connect(graph_, &AttributionView::featureWanted, this, &AttributionPanel::openFeature);
  connect(graph_->canvas(), &GraphView::menuMade, this, [this](QMenu* menu) {
    QAction* save = menu->addAction(tr("Save as graph JSON…"), this, &AttributionPanel::askWhereToSave);
    save->setObjectName(QStringLiteral("save_graph_json"));
    save->setToolTip(tr("As it is pruned now, in the form that Neuronpedia and circuit-tracer's page read"));
    save->setEnabled(graph_->graph() != nullptr);
  });
  connect(form_, &DictionaryForm::finished, this, [this](const RunViewPtr& run) {
    showForm(false);
    take(run);
  });
  connectSession();
}

void AttributionPanel::makeBar() {
  bar_ = new QWidget(this);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  const auto combo = [this](const char* name, const QString& title) {
    auto* box = new QComboBox(bar_);
    box->setObjectName(QString::fromLatin1(name));
    box->setAccessibleName(title);
    box->setToolTip(title);
    guardWheel(box);
    return box;
  };
  const auto button = [this](const char* name, const QString& text, const QString& tip) {
    auto* b = new QToolButton(bar_);
    b->setObjectName(QString::fromLatin1(name));
    b->setText(text);
    b->setToolTip(tip);
    b->setFocusPolicy(Qt::StrongFocus);
    return b;
  };
  runsLabel_ = new QLabel(tr("graph"), bar_);
  runsLabel_->setProperty("role", QStringLiteral("muted"));
  runs_ = combo("graph_runs", tr("Graphs that the project holds, the newest first"));
  runs_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  which_ = combo("graph_which", tr("Which prompt's graph"));
  test_ = button("graph_test", tr("Test this edge"), tr("Takes the edge's feature away in the model and compares what happens to the target with what the edge says (T)"));
  export_ = button("graph_export", tr("Export"), tr("Save the graph as it is pruned now"));
  export_->setPopupMode(QToolButton::InstantPopup);
  auto* menu = new QMenu(export_);
  const auto as = [this](const char* name) {
    QMenu* all = graph_->canvas()->makeMenu(this);
    if (auto* action = all->findChild<QAction*>(QLatin1String(name))) action->trigger();
    all->deleteLater();
  };
  menu->addAction(tr("Picture, SVG…"), this, [as] { as("save_svg"); });
  menu->addAction(tr("Picture, PNG…"), this, [as] { as("save_png"); });
  menu->addAction(tr("Edges, CSV…"), this, [as] { as("save_csv"); });
  menu->addAction(tr("Graph, JSON for viewers…"), this, &AttributionPanel::askWhereToSave);
  export_->setMenu(menu);
  make_ = button("graph_make", tr("New graph…"), tr("Attribute the selected prompt's next token to features of transcoders"));
  make_->setCheckable(true);
  row->addWidget(runsLabel_);
  row->addWidget(runs_, 1);
  row->addWidget(which_);
  row->addWidget(test_);
  row->addWidget(export_);
  row->addWidget(make_);
  body()->addWidget(bar_);
  connect(runs_, &QComboBox::activated, this, [this] { load(runs_->currentData().toLongLong()); });
  connect(which_, &QComboBox::activated, this, &AttributionPanel::showGraph);
  connect(test_, &QToolButton::clicked, this, &AttributionPanel::testEdge);
  connect(make_, &QToolButton::clicked, this, [this](bool on) { showForm(on); });
}

void AttributionPanel::connectSession() {
  Session& s = session();
  const auto again = [this] { scheduleRefresh(); };
  connect(&s, &Session::engineChanged, this, again);
  connect(&s, &Session::modelChanged, this, again);
  connect(&s, &Session::openingChanged, this, again);
  connect(&s, &Session::runsChanged, this, again);
  connect(&s, &Session::promptsChanged, this, again);
  connect(&s.selection(), &Selection::promptChanged, this, again);
  connect(&trained_, &TrainingRuns::changed, this, again);
  connect(&s, &Session::featureLabelChanged, this, [this] { readNotes(); });
  connect(&s, &Session::projectChanged, this, [this] {
    run_ = loading_ = testJob_ = 0;
    view_.reset();
    graphs_.clear();
    edits_->open(0, {});
    graph_->setGraph(nullptr, {});
    scheduleRefresh();
  });
  connect(&s.selection(), &Selection::runChanged, this, [this](qint64 id) {
    const RunRecord* r = session().findRun(id);
    if (r && holdsGraphs(*r) && isVisible()) {
      showForm(false);
      load(id);
    }
  });
  connect(&s, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (testJob_ == 0 || job != testJob_) return;
    testJob_ = 0;
    take(run);
    if (testedGraph_ > 0 && testedGraph_ < which_->count()) {
      which_->setCurrentIndex(testedGraph_);
      showGraph(testedGraph_);
    }
    // The same edge of the new run: names do not change.
    const int from = graph_->nodeNamed(testedFrom_), to = graph_->nodeNamed(testedTo_);
    const AttributionGraph* g = graph_->graph();
    for (size_t e = 0; g && e < g->edges.size(); ++e)
      if (g->edges[e].from == from && g->edges[e].to == to) graph_->selectEdge(static_cast<int>(e));
    picked();
  });
  connect(&s, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
    if (testJob_ == 0 || job != testJob_) return;
    testJob_ = 0;
    cancelled ? showNotice(why) : showProblem(why);
    picked();
  });
}

std::vector<const RunRecord*> AttributionPanel::stored() const {
  std::vector<const RunRecord*> out;
  for (const RunRecord& r : session().runs())
    if (holdsGraphs(r)) out.push_back(&r);
  return out;
}

void AttributionPanel::refresh() {
  trained_.read();
  form_->refresh();
  const std::vector<const RunRecord*> all = stored();
  if (run_ != 0 && std::none_of(all.begin(), all.end(), [&](const RunRecord* r) { return r->id == run_; })) {
    run_ = 0;
    view_.reset();
    graphs_.clear();
    edits_->open(0, {});
    graph_->setGraph(nullptr, {});
  }
  fillRuns();
  if (run_ == 0 && !all.empty()) {
    const qint64 selected = session().selection().run();
    const bool has = std::any_of(all.begin(), all.end(), [&](const RunRecord* r) { return r->id == selected; });
    load(has ? selected : all.front()->id);
  }
  showState();
}

void AttributionPanel::fillRuns() {
  const QSignalBlocker quiet(runs_);
  runs_->clear();
  for (const RunRecord* r : stored()) {
    const auto path = r->spec.cost_params.find("transcoders_path");
    const QString from = path == r->spec.cost_params.end() ? QString() : QString::fromStdString(path->second).section(QLatin1Char('/'), -1, -1, QString::SectionSkipEmpty);
    QStringList parts = {runModel(*r), from, runDataset(*r), tr("run %1").arg(r->id)};
    parts.removeAll(QString());
    runs_->addItem(labelText(parts.join(QStringLiteral(" · ")).toStdString(), 160), static_cast<qint64>(r->id));
    runs_->setItemData(runs_->count() - 1, tipText(longTime(r->created)), Qt::ToolTipRole);
  }
  runs_->setCurrentIndex(runs_->findData(static_cast<qint64>(loading_ ? loading_ : run_)));
}

void AttributionPanel::load(qint64 run) {
  if (run == 0 || run == loading_ || run == run_) return;
  loading_ = run;
  session().loadRun(run, this, [this, run](const RunViewPtr& read) {
    if (loading_ != run) return;
    loading_ = 0;
    if (read) take(read);
  });
}

void AttributionPanel::take(const RunViewPtr& run) {
  std::vector<const AttributionGraph*> graphs;
  for (const Artifact& a : run->result.artifacts)
    if (const auto* g = std::get_if<AttributionGraph>(&a); g && !g->nodes.empty()) graphs.push_back(g);
  if (graphs.empty()) return showNotice(tr("Run %1 holds no graph with nodes: raise the share of influence that is kept.").arg(run->record.id));
  view_ = run;
  graphs_ = graphs;
  run_ = run->record.id;
  {
    const QSignalBlocker quiet(which_);
    which_->clear();
    for (size_t i = 0; i < graphs_.size(); ++i) which_->addItem(tr("prompt %1").arg(i + 1));
    which_->setVisible(graphs_.size() > 1);
  }
  fillRuns();
  showGraph(0);
  showState();
}

void AttributionPanel::showGraph(int which) {
  if (!view_ || which < 0 || which >= static_cast<int>(graphs_.size())) return;
  const AttributionGraph* g = graphs_[static_cast<size_t>(which)];
  ArtifactContext context;
  context.layers = layersOf(view_->context);
  context.command = QString::fromStdString(view_->record.command.empty() ? view_->record.spec.command : view_->record.command);
  context.run = run_;
  edits_->open(run_, g->name);
  graph_->setGraph(std::shared_ptr<const AttributionGraph>(view_, g), context);
  readNotes();
  picked();
}

void AttributionPanel::showForm(bool on) {
  make_->setChecked(on);
  if (on) {
    form_->refresh();
    stack_->setCurrentWidget(page_);
  }
  showState();
}

void AttributionPanel::showState() {
  const bool any = run_ != 0 && graph_->graph(), form = make_->isChecked();
  bar_->setVisible(any || form);
  for (QWidget* w : {static_cast<QWidget*>(runsLabel_), static_cast<QWidget*>(runs_)}) w->setVisible(runs_->count() > 0);
  for (QWidget* w : {static_cast<QWidget*>(test_), static_cast<QWidget*>(export_)}) w->setVisible(any && !form);
  which_->setVisible(any && !form && graphs_.size() > 1);
  if (form) return;
  if (any) {
    stack_->setCurrentWidget(content_);
    return;
  }
  Session& s = session();
  if (loading_ != 0) empty_->setText(tr("Reading…"), tr("The graph of run %1 is read from the project.").arg(loading_));
  else if (!s.engineReady()) empty_->setText(tr("Getting the analyses"), tr("The core is being opened; this takes a moment after the start."));
  else if (!s.findAnalysis(kAnalysis)) empty_->setText(tr("No attribution graphs here"), tr("This build has no analysis that makes them; graphs that a project holds are shown."));
  else if (!s.model(0))
    empty_->setText(s.opening(0) ? tr("Opening the model") : tr("Which features lead to the next token?"),
                    s.opening(0) ? tr("One moment.") : tr("Open a model that you have transcoders of, or see the two models that ship with Microtome."),
                    s.opening(0) ? QString() : tr("Try the demo"));
  else
    empty_->setText(tr("No graph yet"),
                    tr("With transcoders in place of the MLPs and attention frozen, the next token of the selected prompt is traced back to features, tokens and errors. "
                       "Take transcoders from the disk, or train some in Training."),
                    tr("New graph…"));
  stack_->setCurrentWidget(empty_);
}

std::vector<View*> AttributionPanel::views() const {
  if (stack_->currentWidget() != content_ || !graph_->graph()) return {};
  return {graph_->canvas()};
}

QByteArray AttributionPanel::saveState() const {
  QByteArray out;
  QDataStream s(&out, QIODevice::WriteOnly);
  s << qint32(1) << graph_->splitter()->saveState() << form_->saveState();
  return out;
}

void AttributionPanel::restoreState(const QByteArray& state) {
  QDataStream s(state);
  qint32 version = 0;
  QByteArray splitter, form;
  s >> version >> splitter >> form;
  if (s.status() != QDataStream::Ok || version != 1) return;
  graph_->splitter()->restoreState(splitter);
  form_->restoreState(form);
}

}  // namespace microtome::desktop
