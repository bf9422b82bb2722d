// What is done with a graph: pins, notes and supernodes, the features' own notes, edges tested, export.
#include <QComboBox>
#include <QDir>
#include <QFileDialog>
#include <QKeyEvent>
#include <QSaveFile>
#include <QTextBrowser>
#include <QToolButton>
#include <algorithm>
#include <cmath>

#include "app/desktop/panels/attribution_graph/attribution_panel.h"
#include "app/desktop/panels/job_strip.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/feature_search.h"
#include "app/desktop/views/label_text.h"
#include "core/io/attribution_file.h"

namespace microtome::desktop {
namespace {

// "blocks.3.mlp.hook_in" → 3; -1: no layer.
int64_t layerOf(const std::string& hook) {
  const QString text = QString::fromStdString(hook);
  return text.startsWith(QLatin1String("blocks.")) ? text.section(QLatin1Char('.'), 1, 1).toLongLong() : -1;
}

QString pathParam(const RunRecord& r, const char* name) {
  const auto at = r.spec.cost_params.find(name);
  return at == r.spec.cost_params.end() ? QString() : QDir::cleanPath(QString::fromStdString(at->second));
}

// The table of edges that the run tested for this graph; null: none.
const Table* testsOf(const RunViewPtr& run, const std::string& graph) {
  for (const Artifact& a : run->result.artifacts)
    if (const auto* t = std::get_if<Table>(&a); t && t->name == graph + " tested edges") return t;
  return nullptr;
}

double numberIn(const Table& table, size_t row, const char* column) {
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (table.columns[c].name == column && row < table.rows.size() && c < table.rows[row].size()) {
      if (const auto* v = std::get_if<double>(&table.rows[row][c])) return *v;
      if (const auto* i = std::get_if<int64_t>(&table.rows[row][c])) return static_cast<double>(*i);
    }
  return std::nan("");
}

}  // namespace

void AttributionPanel::readNotes() {
  noteRuns_.clear();
  const std::shared_ptr<ResultStore> store = session().store();
  if (!view_ || !graph_->graph() || !store) return graph_->setNotes({});
  const QString transcoders = pathParam(view_->record, "transcoders_path");
  std::vector<qint64> runs;
  for (const RunRecord& r : session().runs()) {
    if (r.state != RunStatus::kDone || r.analysis != "features" || transcoders.isEmpty()) continue;
    const QString path = pathParam(r, "dictionary_path");
    if (path == transcoders || path.startsWith(transcoders + QLatin1Char('/'))) runs.push_back(r.id);
  }
  if (runs.empty()) return graph_->setNotes({});
  // Of sets with tens of thousands of features only those that the graph has.
  std::vector<std::pair<int64_t, int64_t>> wanted;
  for (const AttributionGraph::Node& n : graph_->graph()->nodes)
    if (n.kind == AttributionGraph::Kind::kFeature) wanted.emplace_back(n.layer, n.feature);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  struct Read {
    FeatureNotes notes;
    std::vector<Source> sources;
  };
  session().post(
      tr("Reading what is known of the features"), QStringLiteral("store"), this,
      [store, runs, wanted](Progress& p) {
        Read out;
        for (qint64 id : runs) {
          FeatureQuery none;
          none.limit = 1;
          const Result<ResultStore::FeaturePage> page = store->search_features(id, none);
          if (!page) continue;
          const int64_t layer = layerOf(page.value().head.hook);
          out.sources.push_back({id, layer});
          for (const auto& [at, feature] : wanted) {
            if (at != layer) continue;
            p.check();
            // Dashboards may have been made of a part of the features.
            const Result<FeatureSet> one = store->feature(id, feature);
            if (!one || one.value().features.empty()) continue;
            const FeatureSet::Feature& f = one.value().features[0];
            out.notes.emplace(std::pair(layer, feature), FeatureNote{labelText(f.label, 200), strongestTokens(one.value(), f, 5)});
          }
        }
        return out;
      },
      [this, shown = run_](const Result<Read>& read) {
        if (!read || shown != run_) return;
        noteRuns_ = read.value().sources;
        graph_->setNotes(read.value().notes);
      },
      QStringLiteral("attribution-notes"));
}

void AttributionPanel::openFeature(qint64 layer, qint64 feature) {
  for (const Source& s : noteRuns_) {
    if (s.layer != layer) continue;
    Q_EMIT session().panelWanted(QStringLiteral("features"));
    session().selection().setRun(s.run);
    session().selection().setNode(tr("feature %1").arg(feature));
    return;
  }
}

// ---- what a person does to the picture -----------------------------------------------------------------------------

void AttributionPanel::applyEdits() {
  if (!graph_->graph()) return;
  applying_ = true;
  GraphView* canvas = graph_->canvas();
  const GraphEdits& edits = edits_->current();
  for (int i = 0; i < static_cast<int>(canvas->graph().nodes.size()); ++i) {
    const GraphNode& node = canvas->graph().nodes[static_cast<size_t>(i)];
    const auto at = edits.find(node.name.toStdString());
    const NodeEdit edit = at == edits.end() ? NodeEdit() : at->second;
    if (const QString note = edit.note.value_or(QString()); note != node.note) canvas->setNodeNote(i, note);
    if (const QString group = edit.group.value_or(graph_->ownGroup(i)); group != node.group) canvas->setGroup({i}, group);
    if (edit.pin) canvas->setNodePlace(i, *edit.pin);
    else if (canvas->isPinned(i) && static_cast<size_t>(i) < places_.size()) canvas->setNodePlace(i, places_[static_cast<size_t>(i)]);
    if (canvas->isPinned(i) != edit.pin.has_value()) canvas->setPinned(i, edit.pin.has_value());
  }
  applying_ = false;
}

void AttributionPanel::readEdits() {
  if (!graph_->graph() || applying_) return;
  GraphView* canvas = graph_->canvas();
  // Nodes that are pruned away keep what was done to them.
  GraphEdits now = edits_->current();
  for (int i = 0; i < static_cast<int>(canvas->graph().nodes.size()); ++i) {
    const GraphNode& node = canvas->graph().nodes[static_cast<size_t>(i)];
    NodeEdit edit;
    if (canvas->isPinned(i)) edit.pin = canvas->nodePlace(i);
    if (!node.note.isEmpty()) edit.note = node.note;
    if (node.group != graph_->ownGroup(i)) edit.group = node.group;
    if (edit.isEmpty()) now.erase(node.name.toStdString());
    else now[node.name.toStdString()] = edit;
  }
  edits_->change(now, tr("edit of an attribution graph"));
}

void AttributionPanel::picked() {
  const AttributionGraph* g = graph_->graph();
  Selection& s = session().selection();
  const int node = graph_->selectedNode(), edge = graph_->selectedEdge();
  if (g && isVisible()) {
    s.setNode(node < 0 ? QString() : attributionName(*g, node));
    s.setEdge(edge < 0 ? QString()
                       : attributionName(*g, static_cast<int>(g->edges[static_cast<size_t>(edge)].from)) + QStringLiteral(" → ") +
                             attributionName(*g, static_cast<int>(g->edges[static_cast<size_t>(edge)].to)));
  }
  showTest();
}

// ---- testing an edge -----------------------------------------------------------------------------------------------

QString AttributionPanel::testName(int edge) const {
  const AttributionGraph* g = graph_->graph();
  if (!g || edge < 0) return {};
  const AttributionGraph::Edge& e = g->edges[static_cast<size_t>(edge)];
  const AttributionGraph::Node &from = g->nodes[static_cast<size_t>(e.from)], &to = g->nodes[static_cast<size_t>(e.to)];
  const auto feature = [](const AttributionGraph::Node& n) { return QStringLiteral("%1.%2@%3").arg(n.layer).arg(n.feature).arg(n.position); };
  if (from.kind != AttributionGraph::Kind::kFeature) return {};
  if (to.kind == AttributionGraph::Kind::kLogit) return feature(from) + QLatin1Char('>') + QString::number(to.feature);
  return to.kind == AttributionGraph::Kind::kFeature ? feature(from) + QLatin1Char('>') + feature(to) : QString();
}

void AttributionPanel::showTest() {
  const AttributionGraph* g = graph_->graph();
  const int edge = graph_->selectedEdge();
  const Table* tests = g && view_ ? testsOf(view_, g->name) : nullptr;
  QString why;
  if (edge < 0) why = tr("Select an edge that begins at a feature.");
  else if (testName(edge).isEmpty()) why = tr("Only edges from features are tested: tokens and errors can't be taken away alone.");
  else if (testJob_ != 0) why = tr("A test is running.");
  for (size_t row = 0; edge >= 0 && tests && row < tests->rows.size(); ++row) {
    const AttributionGraph::Edge& e = g->edges[static_cast<size_t>(edge)];
    if (numberIn(*tests, row, "from node") != static_cast<double>(e.from) || numberIn(*tests, row, "to node") != static_cast<double>(e.to)) continue;
    const double predicted = numberIn(*tests, row, "predicted"), frozen = numberIn(*tests, row, "attention and norms frozen"), full = numberIn(*tests, row, "recomputed");
    graph_->setEdgeNote(tr("Tested: with the feature taken away, the edge predicts a change of %1; measured %2 with attention and norms frozen, %3 with everything recomputed.")
                            .arg(numberText(predicted, 3), numberText(frozen, 3), numberText(full, 3)));
    why = tr("This edge has been tested.");
    break;
  }
  test_->setEnabled(why.isEmpty());
  test_->setToolTip(why.isEmpty() ? tr("Takes the edge's feature away in the model and compares what happens to the target with what the edge says (T)") : why);
}

void AttributionPanel::testEdge() {
  const AttributionGraph* g = graph_->graph();
  const int edge = graph_->selectedEdge();
  if (!g || edge < 0 || !test_->isEnabled()) return;
  const RunRecord* record = session().findRun(run_);
  if (!record) return;
  QString why;
  std::optional<RunRequest> request = requestOf(session(), *record, &why);
  if (!request) return showNotice(why);
  // What was tested by hand before stays tested.
  std::string& edges = request->params["edges"];
  edges += (edges.empty() ? "" : ",") + testName(edge).toStdString();
  request->title = tr("Testing an edge");
  const AttributionGraph::Edge& e = g->edges[static_cast<size_t>(edge)];
  testedFrom_ = attributionName(*g, static_cast<int>(e.from));
  testedTo_ = attributionName(*g, static_cast<int>(e.to));
  testedGraph_ = which_->currentIndex();
  clearBar();
  testJob_ = session().run(*request, QStringLiteral("attribution-test"));
  if (testJob_ != 0) strip_->setJob(testJob_, tr("Testing an edge"));
  showTest();
}

void AttributionPanel::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_T && event->modifiers() == Qt::NoModifier && test_->isVisible() && test_->isEnabled()) {
    testEdge();
    event->accept();
    return;
  }
  Panel::keyPressEvent(event);
}

// ---- export --------------------------------------------------------------------------------------------------------

bool AttributionPanel::saveJson(const QString& path, QString* why) const {
  if (!graph_->graph()) {
    if (why) *why = tr("There is no graph to save.");
    return false;
  }
  try {
    NeuronpediaOptions options;
    options.scan = view_ ? view_->record.spec.model_name : std::string();
    options.slug = options.scan + "-run-" + std::to_string(run_);
    const NeuronpediaText text = graph_to_neuronpedia(graph_->shownGraph(), options);
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly) || file.write(text.json.data(), static_cast<qint64>(text.json.size())) != static_cast<qint64>(text.json.size()) || !file.commit()) {
      if (why) *why = tr("%1 can't be written (%2): choose another place.").arg(QDir::toNativeSeparators(path), file.errorString());
      return false;
    }
    return true;
  } catch (const Error& e) {
    if (why) *why = QString::fromStdString(e.status().text());
    return false;
  }
}

void AttributionPanel::askWhereToSave() {
  const QString path = QFileDialog::getSaveFileName(this, tr("Save the graph"), QStringLiteral("attribution-graph.json"), tr("Attribution graph JSON (*.json)"));
  if (path.isEmpty()) return;
  QString why;
  const bool good = saveJson(path, &why);
  good ? showNotice(tr("Saved %1").arg(QDir::toNativeSeparators(path))) : showProblem(why);
}

}  // namespace microtome::desktop
