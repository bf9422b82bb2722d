// Attribution graph: a stored graph, what a person does to it kept and undone, tests of edges read from the run, export.
#include <QAction>
#include <QComboBox>
#include <QFile>
#include <QMenu>
#include <QSlider>
#include <QTextBrowser>
#include <QUrl>
#include <cmath>

#include "app/desktop/panels/attribution_graph/attribution_panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/param_form.h"
#include "core/base/json.h"
#include "tests/desktop/app/stored_results.h"
#include "tests/desktop/views/feature_samples.h"

namespace microtome::desktop {
namespace {

class AttributionPanelTest : public StoredResultsTest {
 protected:
  qint64 storeGraph(const std::string& transcoders = {}) {
    AnalysisResult result;
    result.artifacts.push_back(sampleGraph());
    // The two strongest edges from a feature were tested: 6 → 9 and 4 → 6.
    result.artifacts.push_back(Table{"graph tested edges", "Edges tested", {{"from", "", ""}, {"to", "", ""}, {"predicted", "", ""}, {"everything frozen", "", ""}, {"attention and norms frozen", "", ""}, {"recomputed", "", ""}, {"predicted over all paths", "", ""}, {"from node", "", ""}, {"to node", "", ""}},
                                    {{std::string("a"), std::string("b"), -2.0, -2.0, -1.75, -1.625, -2.0, int64_t{6}, int64_t{9}}, {std::string("b"), std::string("c"), -1.5, -1.5, -1.25, -1.0, -1.5, int64_t{4}, int64_t{6}}}});
    RunSpec spec = specOf("attribution_graph", {{"test_edges", "2"}});
    spec.cost_params["transcoders_path"] = transcoders;
    return storeRun(spec, "Attribution graph", &result);
  }
  AttributionView* view() const {
    auto* v = panel_->findChild<AttributionView*>();
    EXPECT_TRUE(v);
    return v;
  }
  QString words() const { return view()->inspector()->toPlainText(); }
  std::string kept(qint64 run) {
    std::string text;
    bool told = false;
    session_->post(
        QStringLiteral("test"), QStringLiteral("store"), session_.get(), [store = session_->store(), run](Progress&) { return store->context(run, "attribution_edits:graph").value(); },
        [&](const Result<std::string>& read) {
          text = read ? read.value() : read.status().text();
          told = true;
        });
    EXPECT_TRUE(waitUntil([&] { return told; }));
    return text;
  }
};

TEST_F(AttributionPanelTest, EmptyStatesAndTheForm) {
  open("attribution_graph");
  ASSERT_TRUE(emptyState());
  EXPECT_EQ(emptyState()->findChild<QPushButton*>()->text(), QStringLiteral("Try the demo"));
  openTwins(2, false);
  ASSERT_TRUE(settle());
  if (!session_->findAnalysis(QStringLiteral("attribution_graph"))) GTEST_SKIP() << "this build makes no graphs";
  ASSERT_TRUE(emptyState());
  EXPECT_EQ(emptyState()->findChild<QPushButton*>()->text(), QStringLiteral("New graph…"));
  picture(panel_.get(), QStringLiteral("attribution_empty"));
  QTest::mouseClick(emptyState()->findChild<QPushButton*>(), Qt::LeftButton);
  EXPECT_TRUE(find<ParamForm>("dictionary_form")->isVisible());
  EXPECT_FALSE(find<QPushButton>("form_run")->isEnabled());
  EXPECT_TRUE(text("form_hint").contains(QStringLiteral("transcoders"))) << text("form_hint").toStdString();
}

TEST_F(AttributionPanelTest, PinsAndSupernodesAreKeptAndUndone) {
  const qint64 run = storeGraph();
  open("attribution_graph");
  ASSERT_TRUE(waitUntil([&] { return view()->graph() != nullptr; }));
  GraphView* canvas = view()->canvas();
  EXPECT_EQ(canvas->sourceRun(), run);
  const int node = view()->drawnOf(3);
  const QPointF before = canvas->nodePlace(node);
  canvas->setNodePlace(node, before + QPointF(40, 0));
  canvas->setPinned(node, true);
  canvas->setGroup({node}, QStringLiteral("determiners"));
  Q_EMIT canvas->edited();
  ASSERT_TRUE(settle());
  const Result<Json> json = parse_json(kept(run), "edits");
  ASSERT_TRUE(json);
  EXPECT_EQ(json.value()["nodes"]["L0 feature 7 at 1"]["group"], "determiners");
  // Pruned away and back: the edit is still there.
  view()->setShares(0.2, 1);
  ASSERT_LT(view()->drawnOf(3), 0);
  view()->setShares(1, 1);
  EXPECT_TRUE(canvas->isPinned(view()->drawnOf(3)));
  EXPECT_EQ(canvas->nodePlace(view()->drawnOf(3)), before + QPointF(40, 0));
  EXPECT_EQ(canvas->graph().nodes[static_cast<size_t>(view()->drawnOf(3))].group, QStringLiteral("determiners"));
  session_->undoStack().undo();
  ASSERT_TRUE(settle());
  EXPECT_FALSE(canvas->isPinned(view()->drawnOf(3)));
  EXPECT_EQ(canvas->nodePlace(view()->drawnOf(3)), before);
  EXPECT_EQ(canvas->graph().nodes[static_cast<size_t>(view()->drawnOf(4))].group, QStringLiteral("kings"));   // the run's own
  picture(panel_.get(), QStringLiteral("attribution"));
}

TEST_F(AttributionPanelTest, ATestedEdgeTellsWhatWasMeasured) {
  storeGraph();
  open("attribution_graph");
  ASSERT_TRUE(waitUntil([&] { return view()->graph() != nullptr; }));
  auto* test = find<QToolButton>("graph_test");
  EXPECT_FALSE(test->isEnabled());                               // nothing is selected
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("edge:1")));        // 4 → 6, the second from a feature
  EXPECT_TRUE(words().contains(numberText(-1.25, 3)) && words().contains(numberText(-1.5, 3))) << words().toStdString();
  EXPECT_FALSE(test->isEnabled());
  EXPECT_EQ(session_->selection().edge(), QStringLiteral("L0 feature 11 at 2 → L1 feature 3 at 2"));
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("edge:2")));        // 3 → 6 was not tested
  EXPECT_TRUE(test->isEnabled());
  EXPECT_FALSE(words().contains(QStringLiteral("Tested")));
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("edge:3")));        // begins at a token
  EXPECT_FALSE(test->isEnabled());
  EXPECT_TRUE(test->toolTip().contains(QStringLiteral("features")));
}

// The whole way: transcoders trained here, a graph, an edge that no run has tested, the button.
TEST_F(AttributionPanelTest, AnEdgeIsTestedInTheModel) {
  for (const char* name : {"transcoder", "attribution_graph"})
    if (!session_->findAnalysis(QLatin1String(name))) GTEST_SKIP() << "this build has no " << name;
  openTwins(2, false);
  const QString corpus = writeTokens(folder_.filePath(QStringLiteral("corpus.json")), session_->model(0)->facts().vocab_size);
  RunRequest train;
  train.analysis = QStringLiteral("transcoder");
  train.params = {{"corpus", corpus.toStdString()}, {"d_sae", "64"}, {"k", "4"}, {"tokens", "8192"}, {"batch", "128"}, {"length", "32"}, {"buffer", "4"}, {"eval_tokens", "256"}};
  ASSERT_NE(session_->run(train), 0);
  ASSERT_TRUE(settle());
  ASSERT_EQ(session_->runs().size(), 1u) << problems_.join(QLatin1Char('\n')).toStdString();
  RunViewPtr trained;
  session_->loadRun(session_->runs().front().id, session_.get(), [&](const RunViewPtr& run) { trained = run; });
  ASSERT_TRUE(waitUntil([&] { return trained != nullptr; }));
  const QString folder = folder_.filePath(QStringLiteral("transcoders"));
  session_->engine()->write_dictionaries(trained->result, {}, folder.toStdString());
  RunRequest make;
  make.analysis = QStringLiteral("attribution_graph");
  make.onePrompt = true;
  make.params = {{"transcoders", folder.toStdString()}, {"test_edges", "0"}};
  ASSERT_NE(session_->run(make), 0);
  ASSERT_TRUE(settle());
  ASSERT_EQ(session_->runs().size(), 2u) << problems_.join(QLatin1Char('\n')).toStdString();
  open("attribution_graph");
  ASSERT_TRUE(waitUntil([&] { return view()->graph() != nullptr; }));
  // The third edge that begins at a feature: the analysis itself would test others first.
  const AttributionGraph* g = view()->graph();
  int edge = -1, rank = -1;
  for (size_t e = 0; e < g->edges.size() && rank < 2; ++e)
    if (g->nodes[static_cast<size_t>(g->edges[e].from)].kind == AttributionGraph::Kind::kFeature && view()->cut().edges[e]) edge = static_cast<int>(e), ++rank;
  ASSERT_EQ(rank, 2) << "the graph has too few edges from features";
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("edge:%1").arg(edge)));
  const QString name = session_->selection().edge();
  ASSERT_FALSE(name.isEmpty());
  EXPECT_FALSE(words().contains(QStringLiteral("Tested")));
  auto* test = find<QToolButton>("graph_test");
  ASSERT_TRUE(test->isEnabled()) << test->toolTip().toStdString();
  QTest::mouseClick(test, Qt::LeftButton);
  EXPECT_FALSE(test->isEnabled());
  ASSERT_TRUE(settle());
  ASSERT_TRUE(waitUntil([&] { return words().contains(QStringLiteral("Tested")); })) << words().toStdString() << problems_.join(QLatin1Char('\n')).toStdString();
  // The same edge is selected in the new run's graph, and what is said of it is in the new run's table.
  EXPECT_EQ(session_->selection().edge(), name);
  ASSERT_EQ(session_->runs().size(), 3u);
  EXPECT_EQ(view()->canvas()->sourceRun(), session_->runs().front().id);
  RunViewPtr tested;
  session_->loadRun(session_->runs().front().id, session_.get(), [&](const RunViewPtr& run) { tested = run; });
  ASSERT_TRUE(waitUntil([&] { return tested != nullptr; }));
  const Table* table = nullptr;
  for (const Artifact& a : tested->result.artifacts)
    if (const auto* t = std::get_if<Table>(&a); t && t->name == view()->graph()->name + " tested edges") table = t;
  ASSERT_TRUE(table);
  ASSERT_EQ(table->rows.size(), 1u);
  int found = 0;
  for (size_t c = 0; c < table->columns.size(); ++c)
    for (const char* column : {"predicted", "attention and norms frozen", "recomputed"})
      if (table->columns[c].name == column) {
        ++found;
        EXPECT_TRUE(words().contains(numberText(std::get<double>(table->rows[0][c]), 3))) << column << words().toStdString();
      }
  EXPECT_EQ(found, 3);
  // It is this edge: the prediction is minus its weight.
  const AttributionGraph::Edge& now = view()->graph()->edges[static_cast<size_t>(view()->selectedEdge())];
  EXPECT_NEAR(std::get<double>(table->rows[0][2]), -now.weight, 1e-5 * std::max(1.0, std::fabs(static_cast<double>(now.weight))));
  EXPECT_FALSE(test->isEnabled());                               // tested already
  picture(panel_.get(), QStringLiteral("attribution_tested"));
}

TEST_F(AttributionPanelTest, FeaturesAreKnownByTheirDashboards) {
  const std::string folder = folder_.filePath(QStringLiteral("transcoders")).toStdString();
  AnalysisResult result;
  FeatureSet features = sampleFeatures(6);
  features.hook = "blocks.1.mlp.hook_in";
  features.features[1].label = "royalty";                        // feature 3
  result.artifacts.push_back(features);
  RunSpec spec = specOf("features", {{"layer", "1"}});
  spec.cost_params["dictionary_path"] = folder + "/layer-1";
  const qint64 dashboards = storeRun(spec, "Features", &result);
  storeGraph(folder);
  open("attribution_graph");
  ASSERT_TRUE(waitUntil([&] { return view()->graph() && view()->canvas()->graph().nodes[static_cast<size_t>(view()->drawnOf(6))].label == QStringLiteral("royalty"); }));
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("node:6")));
  EXPECT_TRUE(words().contains(QStringLiteral("royalty")) && words().contains(QStringLiteral("·king"))) << words().toStdString();
  QString panel;
  QObject::connect(session_.get(), &Session::panelWanted, [&](const QString& id) { panel = id; });
  Q_EMIT view()->inspector()->anchorClicked(QUrl(QStringLiteral("feature:1:3")));
  EXPECT_EQ(panel, QStringLiteral("features"));
  EXPECT_EQ(session_->selection().run(), dashboards);
  // And the panel Features shows that one.
  std::unique_ptr<Panel> other(makePanel("features"));
  ASSERT_TRUE(settle());
  picture(panel_.get(), QStringLiteral("attribution_notes"));
}

TEST_F(AttributionPanelTest, JsonForViewersHoldsWhatIsShown) {
  storeGraph();
  open("attribution_graph");
  ASSERT_TRUE(waitUntil([&] { return view()->graph() != nullptr; }));
  view()->setShares(0.7, 0.95);
  const QString path = folder_.filePath(QStringLiteral("graph.json"));
  QString why;
  ASSERT_TRUE(static_cast<AttributionPanel*>(panel_.get())->saveJson(path, &why)) << why.toStdString();
  QFile file(path);
  ASSERT_TRUE(file.open(QIODevice::ReadOnly));
  const Result<Json> json = parse_json(file.readAll().toStdString(), "graph");
  ASSERT_TRUE(json);
  EXPECT_EQ(static_cast<int64_t>(json.value()["nodes"].size()), view()->cut().node_count);
  EXPECT_EQ(static_cast<int64_t>(json.value()["links"].size()), view()->cut().edge_count);
  EXPECT_FALSE(static_cast<AttributionPanel*>(panel_.get())->saveJson(folder_.filePath(QStringLiteral("no/such/folder.json")), &why));
  EXPECT_FALSE(why.isEmpty());
  // The menu offers it beside SVG, PNG and CSV.
  QMenu* menu = view()->canvas()->makeMenu(panel_.get());
  for (const char* name : {"save_svg", "save_png", "save_csv", "save_graph_json"}) EXPECT_TRUE(menu->findChild<QAction*>(QLatin1String(name))) << name;
}

}  // namespace
}  // namespace microtome::desktop
