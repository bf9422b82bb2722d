#include "app/desktop/panels/circuit/column.h"

#include <QComboBox>
#include <QDir>
#include <QFileDialog>
#include <QHBoxLayout>
#include <QLabel>
#include <QMenu>
#include <QStackedWidget>
#include <QVBoxLayout>
#include <algorithm>
#include <map>

#include "app/desktop/panels/result_pane.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "core/io/circuit_file.h"

namespace microtome::desktop {
namespace {

// A list of more is no list any more: Project finds the others.
constexpr size_t kMostListed = 200;
// Beyond so many edges graphviz has no better order than the heads' own.
constexpr size_t kReadEdgeByEdge = 150;

QString circuitText(const RunRecord& r, CircuitPrompts scope) {
  QStringList parts{runTitle(r)};
  const auto metric = r.spec.answer_params.find("metric");
  if (metric != r.spec.answer_params.end() && metric->second != "auto") parts << labelText(nameText(metric->second).toStdString(), 40);
  parts << (scope == CircuitPrompts::kAll ? QObject::tr("these prompts") : scope == CircuitPrompts::kOne ? QObject::tr("this prompt") : runDataset(r));
  parts << QObject::tr("run %1").arg(r.id);
  return parts.join(QStringLiteral(" · "));
}

}  // namespace

CircuitColumn::CircuitColumn(Panel& panel, StoredCircuits& stored, int slot, QWidget* parent)
    : QWidget(parent), session_(panel.session()), stored_(stored), slot_(slot) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* head = new QHBoxLayout;
  head->setSpacing(kGrid);
  name_ = new QLabel(this);
  name_->setObjectName(QStringLiteral("model_name"));
  name_->setTextFormat(Qt::PlainText);
  name_->setProperty("role", QStringLiteral("section"));
  name_->setSizePolicy(QSizePolicy::Maximum, QSizePolicy::Fixed);
  list_ = new QComboBox(this);
  list_->setObjectName(QStringLiteral("circuit_list"));
  list_->setAccessibleName(tr("Stored circuits"));
  list_->setToolTip(tr("The circuits that the project holds for this model, the newest first; those on the prompts of the window stand above all others"));
  list_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  guardWheel(list_);
  head->addWidget(name_);
  head->addWidget(list_, 1);
  column->addLayout(head);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  graph_ = new GraphView(stack_);
  graph_->setObjectName(QStringLiteral("circuit_graph"));
  stack_->addWidget(empty_);
  stack_->addWidget(graph_);
  column->addWidget(stack_, 1);
  panel.adopt(graph_);
  edits_ = new StoredGraphEdits(session_, "circuit", this);
  questions_ = new CircuitQuestions(session_, this);

  connect(empty_, &EmptyState::pressed, this, &CircuitColumn::pressed);
  connect(list_, &QComboBox::activated, this, [this] {
    if (filling_) return;
    Q_EMIT listPicked();
    load(list_->currentData().toLongLong());
  });
  const auto nameOf = [this](int node) { return graph_->graph().nodes[static_cast<size_t>(node)].name; };
  connect(graph_, &GraphView::nodeClicked, this, [this, nameOf](int node) { Q_EMIT nodePicked(nameOf(node)); });
  connect(graph_, &GraphView::nodeActivated, this, [this, nameOf](int node) { Q_EMIT nodeActivated(nameOf(node)); });
  connect(graph_, &GraphView::edgeClicked, this, [this](int edge) {
    Q_EMIT edgePicked(QString::fromStdString(edgeName(order_->circuit().edges[static_cast<size_t>(edge)])));
  });
  connect(graph_, &GraphView::selectionCleared, this, &CircuitColumn::pickCleared);
  connect(graph_, &GraphView::edited, this, &CircuitColumn::readEdits);
  // graphviz has moved the nodes: what is pinned stays where a person put it.
  connect(graph_, &GraphView::layoutDone, this, [this] {
    basePlaces_.clear();
    for (int i = 0; i < static_cast<int>(graph_->graph().nodes.size()); ++i) basePlaces_.push_back(graph_->nodePlace(i));
    applyEdits();
  });
  connect(edits_, &StoredGraphEdits::changed, this, &CircuitColumn::applyEdits);
  connect(graph_, &GraphView::menuMade, this, [this](QMenu* menu) {
    QAction* save = menu->addAction(tr("Save as circuit JSON…"), this, &CircuitColumn::askWhereToSave);
    save->setObjectName(QStringLiteral("save_circuit"));
    save->setToolTip(tr("The edges that are kept, in the form of the MIB benchmark: `microtome circuit` and circuit_eval read it"));
    save->setEnabled(hasCircuit());
  });

  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    take(run);
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    if (!cancelled) return fail(tr("This did not work"), why);
    if (!hasCircuit()) say(tr("Cancelled"), tr("What was computed is kept: Run goes on from there."), tr("Run"));
    set(State::kCancelled);
  });
}

void CircuitColumn::set(State state) {
  state_ = state;
  Q_EMIT stateChanged();
}

// ---- runs ----------------------------------------------------------------------------------------------------------

bool CircuitColumn::start(const RunRequest& request) {
  const qint64 job = session_.run(request, QStringLiteral("circuit-%1").arg(slot_));
  if (job == 0) return false;
  job_ = job;
  loading_ = 0;
  if (!hasCircuit()) say(tr("Computing…"), tr("The circuit is drawn when the run is finished."), {});
  set(State::kRunning);
  return true;
}

void CircuitColumn::cancel() {
  if (job_ != 0) session_.cancel(job_);
}

void CircuitColumn::load(qint64 run) {
  if (run == 0 || loading_ == run || shownRun() == run) return;
  loading_ = run;
  if (!hasCircuit()) say(tr("Reading…"), tr("Run %1 is read from the project.").arg(run), {});
  const app::ModelPtr model = session_.model(slot_);
  session_.loadRun(run, this, [this, run, model](const RunViewPtr& read) {
    if (loading_ != run) return;
    loading_ = 0;
    if (session_.model(slot_) != model) return;
    if (read) return take(read);
    if (hasCircuit()) return;
    say(tr("Run %1 can't be read").arg(run), tr("Press Run to compute it again."), tr("Run"));
    set(State::kFailed);
  });
}

void CircuitColumn::forget() {
  // A run of a model that was closed goes on; what it computes is in the project.
  job_ = loading_ = 0;
  run_ = nullptr;
  request_ = {};
  model_ = nullptr;
  order_ = nullptr;
  knockedOut_.clear();
  questions_->clear();
  edits_->open(0, {});
  graph_->clear();
  stack_->setCurrentWidget(empty_);
  set(State::kEmpty);
  Q_EMIT circuitChanged();
}

void CircuitColumn::say(const QString& headline, const QString& sentence, const QString& button) {
  if (hasCircuit()) return;
  empty_->setText(headline, sentence, button);
  stack_->setCurrentWidget(empty_);
}

void CircuitColumn::fail(const QString& headline, const QString& sentence) {
  forget();
  say(headline, sentence, {});
  set(State::kFailed);
}

void CircuitColumn::listStored(bool named) {
  const app::ModelPtr model = session_.model(slot_);
  name_->setText(model ? labelText(model->facts().name, 40) : QString());
  name_->setVisible(named && model);
  filling_ = true;
  list_->clear();
  const std::vector<const RunRecord*> all = stored_.list(slot_);
  for (const RunRecord* r : all) {
    if (list_->count() >= static_cast<int>(kMostListed)) break;
    list_->addItem(circuitText(*r, stored_.scopeOf(slot_, r->spec.dataset_hash)), static_cast<qint64>(r->id));
    list_->setItemData(list_->count() - 1, tipText(longTime(r->created) + (r->note.empty() ? QString() : QStringLiteral(" · ") + labelText(r->note, 300))),
                       Qt::ToolTipRole);
  }
  list_->setCurrentIndex(list_->findData(shownRun()));
  list_->setVisible(list_->count() > 0);
  filling_ = false;
}

void CircuitColumn::take(const RunViewPtr& run) {
  const Circuit* circuit = circuitOf(run->result);
  if (!circuit || circuit->edges.empty()) {
    fail(tr("Nothing to show"), circuit ? tr("The circuit of this run has no edges: choose another one, or other parameters.")
                                        : tr("This run holds no circuit: choose another one."));
    return;
  }
  run_ = run;
  request_ = circuitRequestOf(run->record);
  model_ = session_.model(slot_);
  order_ = std::make_shared<EdgeOrder>(std::shared_ptr<const Circuit>(run, circuit));
  knockedOut_.clear();
  leveled_ = false;
  choice_ = {order_->hasFound() ? 0 : order_->total()};
  GraphData data = made();
  nodes_.clear();
  edges_.clear();
  baseGroups_.clear();
  for (const GraphNode& n : data.nodes) {
    nodes_.emplace(n.name.toStdString(), static_cast<int>(nodes_.size()));
    baseGroups_.push_back(n.group);
  }
  for (size_t e = 0; e < circuit->edges.size(); ++e) edges_.emplace(edgeName(circuit->edges[e]), static_cast<int>(e));
  leveledAsFound_ = choice_.count == 0;
  leveled_ = true;
  graph_->setThreshold(order_->threshold(choice_));
  graph_->setGraph(std::move(data));
  basePlaces_.clear();
  for (int i = 0; i < static_cast<int>(graph_->graph().nodes.size()); ++i) basePlaces_.push_back(graph_->nodePlace(i));
  graph_->setTitle(labelText(circuit->title.empty() ? circuit->name : circuit->title, 200) +
                   (model_ ? QStringLiteral(" · ") + labelText(model_->facts().name, 80) : QString()));
  graph_->setCommand(QString::fromStdString(run->record.command.empty() ? run->record.spec.command : run->record.command));
  graph_->setSource(run->record.id, QString::fromStdString(circuit->name));
  stack_->setCurrentWidget(graph_);
  edits_->open(run->record.id, circuit->name);
  updateSubject();
  filling_ = true;
  list_->setCurrentIndex(list_->findData(shownRun()));
  filling_ = false;
  set(State::kDone);
  Q_EMIT circuitChanged();
}

GraphData CircuitColumn::made() const {
  const Circuit& circuit = order_->circuit();
  GraphData data = graphOf(circuit, false);
  std::vector<LayerKind> kinds = layersOf(run_->context);
  if (kinds.empty() && model_) kinds = layersOf(model_->facts());
  const std::vector<double> levels = order_->levels(choice_.count == 0);
  for (size_t e = 0; e < data.edges.size() && e < levels.size(); ++e) data.edges[e].level = levels[e];
  for (GraphNode& n : data.nodes) {
    const NodePlaceName place = placeOfNode(n.name.toStdString());
    if (place.kind == NodePlaceName::Kind::kHead && place.layer < static_cast<int>(kinds.size())) n.kind = kinds[static_cast<size_t>(place.layer)];
  }
  std::unordered_map<std::string, std::string> groups;
  for (const Circuit::Group& g : circuit.groups)
    for (const std::string& n : g.nodes) groups.emplace(n, g.name);
  for (GraphNode& n : data.nodes)
    if (const auto at = groups.find(n.name.toStdString()); at != groups.end()) n.group = labelText(at->second, 80);
  // So dense a graph is read by its layers and heads, and beside another one place must mean one head.
  data.grid = data.edges.size() > kReadEdgeByEdge;
  data.scoreLabel = tr("score");
  data.help = tr("Edges by their score, as the analysis gives it: the width says how strong, the colour which sign. Edges that no longer lie on a path "
                 "from the input to the logits are left out.");
  return data;
}

// ---- what is shown -------------------------------------------------------------------------------------------------

void CircuitColumn::setChoice(const EdgeChoice& choice) {
  if (!order_ || (choice == choice_ && leveled_)) return;
  choice_ = choice;
  const bool asFound = choice.count == 0;
  if (leveled_ && asFound == leveledAsFound_) graph_->setThreshold(order_->threshold(choice));
  else graph_->setLevels(order_->levels(asFound), order_->threshold(choice));
  leveled_ = true;
  leveledAsFound_ = asFound;
}

void CircuitColumn::setMarked(const CircuitPair::Overlap* overlap) {
  if (!overlap) return graph_->setMarked({}, {});
  std::set<int> nodes;
  const std::vector<char>& shared = overlap->nodes[slot_];
  for (size_t n = 0; n < shared.size(); ++n)
    if (shared[n])
      if (const int node = nodeNamed(order_->nodeNames()[n]); node >= 0) nodes.insert(node);
  graph_->setMarked(nodes, overlap->edges[slot_]);
}

int CircuitColumn::nodeNamed(const std::string& name) const {
  const auto at = nodes_.find(name);
  return order_ && at != nodes_.end() ? at->second : -1;
}

int CircuitColumn::edgeNamed(const std::string& name) const {
  const auto at = edges_.find(name);
  return order_ && at != edges_.end() ? at->second : -1;
}

void CircuitColumn::select(const std::string& node, const std::string& edge) {
  if (!order_) return;
  if (!edge.empty()) {
    graph_->setSelectedNode(-1);
    graph_->setSelectedEdge(edgeNamed(edge));
  } else {
    graph_->setSelectedNode(node.empty() ? -1 : nodeNamed(node));
  }
}

void CircuitColumn::setKnockedOut(const std::set<std::string>& nodes) {
  std::set<int> crossed;
  knockedOut_.clear();
  for (const std::string& name : nodes)
    if (const int node = nodeNamed(name); node >= 0) {
      crossed.insert(node);
      knockedOut_.insert(name);
    }
  graph_->setKnockedOut(crossed);
}

void CircuitColumn::updateSubject() {
  if (!order_ || !model_) return questions_->clear();
  app::CircuitMeterOptions options;
  if (const std::string metric = request_.param("metric"); !metric.empty()) options.metric = metric;
  if (const std::string outside = request_.param("outside"); outside == "zero" || outside == "mean") options.outside = outside;
  options.seed = session_.prompts().source.seed;
  questions_->setSubject(model_, stored_.promptsFor(slot_, request_.prompts), options, order_);
}

Circuit CircuitColumn::edited() const {
  Circuit out = order_->circuit();
  auto gone = [this](const std::string& node) { return knockedOut_.count(node) > 0; };
  for (size_t e = 0; e < out.edges.size(); ++e)
    out.edges[e].in_graph = order_->holds(e, choice_) && !gone(out.edges[e].from) && !gone(endOf(out.edges[e].to).first);
  std::set<std::string> inside;
  for (const Circuit::Edge& e : out.edges)
    if (e.in_graph) {
      inside.insert(e.from);
      inside.insert(endOf(e.to).first);
    }
  for (Circuit::Node& n : out.nodes) n.in_graph = inside.count(n.name) > 0;
  std::map<std::string, Circuit::Group> groups;
  for (const GraphNode& n : graph_->graph().nodes)
    if (!n.group.isEmpty()) groups[n.group.toStdString()].nodes.push_back(n.name.toStdString());
  out.groups.clear();
  for (auto& [name, group] : groups) out.groups.push_back({name, std::move(group.nodes)});
  return out;
}

bool CircuitColumn::saveCircuit(const QString& path, QString* why) const {
  try {
    const Status s = write_circuit_file(path.toStdString(), edited());
    if (s) return true;
    if (why) *why = QString::fromStdString(s.text());
  } catch (const Error& e) {
    if (why) *why = QString::fromStdString(e.status().text());
  }
  return false;
}

void CircuitColumn::askWhereToSave() {
  if (!order_) return;
  const QString path = QFileDialog::getSaveFileName(this, tr("Save the circuit"), QStringLiteral("circuit.json"), tr("MIB circuit JSON (*.json)"));
  if (path.isEmpty() || !order_) return;
  QString why;
  const bool good = saveCircuit(path, &why);
  Q_EMIT graph_->message(good ? tr("Saved %1").arg(QDir::toNativeSeparators(path)) : why, !good);
}

// ---- edits ---------------------------------------------------------------------------------------------------------

void CircuitColumn::applyEdits() {
  if (!order_) return;
  applying_ = true;
  const GraphEdits& edits = edits_->current();
  const auto count = static_cast<int>(graph_->graph().nodes.size());
  for (int i = 0; i < count; ++i) {
    const auto n = static_cast<size_t>(i);
    const GraphNode& node = graph_->graph().nodes[n];
    const auto at = edits.find(node.name.toStdString());
    const NodeEdit edit = at == edits.end() ? NodeEdit() : at->second;
    if (const QString note = edit.note.value_or(QString()); note != node.note) graph_->setNodeNote(i, note);
    if (const QString group = edit.group.value_or(baseGroups_[n]); group != node.group) graph_->setGroup({i}, group);
    if (edit.pin) graph_->setNodePlace(i, *edit.pin);
    else if (graph_->isPinned(i)) graph_->setNodePlace(i, basePlaces_[n]);
    if (graph_->isPinned(i) != edit.pin.has_value()) graph_->setPinned(i, edit.pin.has_value());
  }
  applying_ = false;
}

void CircuitColumn::readEdits() {
  if (!order_ || applying_) return;
  GraphEdits now;
  for (int i = 0; i < static_cast<int>(graph_->graph().nodes.size()); ++i) {
    const GraphNode& node = graph_->graph().nodes[static_cast<size_t>(i)];
    NodeEdit edit;
    if (graph_->isPinned(i)) edit.pin = graph_->nodePlace(i);
    if (!node.note.isEmpty()) edit.note = node.note;
    if (node.group != baseGroups_[static_cast<size_t>(i)]) edit.group = node.group;
    if (!edit.isEmpty()) now[node.name.toStdString()] = edit;
  }
  edits_->change(now, tr("edit of a circuit"));
}

}  // namespace microtome::desktop
