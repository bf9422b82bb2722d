// Attribution graph: a stored graph, what a person does to it kept and undone, tests of edges read from the run, export.
#include <QAction>
#include <QComboBox>
#include <QFile>
#include <QMenu>
#include <QSlider>
#include <QTextBrowser>
#include <QUrl>

#include "app/desktop/panels/attribution_graph/attribution_panel.h"
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
    result.artifacts.push_back(Table{"graph tested edges", "Edges tested", {{"from", "", ""}, {"to", "", ""}, {"predicted", "", ""}, {"everything frozen", "", ""}, {"attention frozen", "", ""}, {"recomputed", "", ""}, {"predicted over all paths", "", ""}},
                                    {{std::string("a"), std::string("b"), -2.0, -2.0, -1.75, -1.625, -2.0}, {std::string("b"), std::string("c"), -1.5, -1.5, -1.25, -1.0, -1.5}}});
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
