// An attribution graph on its canvas: places by layer and token, sliders that prune, selection and its words.
#include <QCheckBox>
#include <QDoubleSpinBox>
#include <QSignalSpy>
#include <QSlider>
#include <QTextBrowser>
#include <QUrl>
#include <QtTest/QTest>
#include <QAbstractScrollArea>
#include <QElapsedTimer>
#include <QLineF>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "app/desktop/views/attribution_view.h"
#include "tests/desktop/views/feature_samples.h"

namespace microtome::desktop {
namespace {

struct Open {
  AttributionView view;
  std::shared_ptr<const AttributionGraph> graph;
  explicit Open(AttributionGraph g) : graph(std::make_shared<const AttributionGraph>(std::move(g))) {
    view.resize(1000, 640);
    view.show();
    EXPECT_TRUE(QTest::qWaitForWindowExposed(&view));
    ArtifactContext context;
    context.layers = {LayerKind::kSoftmax, LayerKind::kRecurrent};
    view.setGraph(graph, context);
  }
  QPointF place(int node) const { return view.canvas()->nodePlace(view.drawnOf(node)); }
  bool drawn(int node) const { return view.drawnOf(node) >= 0; }
  QString words() const { return view.inspector()->toPlainText(); }
  QSlider* slider(const char* name) const { return view.findChild<QSlider*>(QLatin1String(name)); }
};

// A graph of many features in one place.
AttributionGraph crowded(int features) {
  AttributionGraph g = sampleGraph();
  for (int i = 0; i < features; ++i) {
    g.nodes.push_back({AttributionGraph::Kind::kFeature, 1, 2, 100 + i, 1, 0.001 * (i + 1), true, ""});
    const auto n = static_cast<int64_t>(g.nodes.size()) - 1;
    g.edges.push_back({2, n, 0.5});
    g.edges.push_back({n, 9, 0.01 * (i + 1)});
  }
  return g;
}

TEST(AttributionView, LayersUpwardsTokensAcross) {
  Open o(sampleGraph());
  EXPECT_EQ(o.view.canvas()->graph().nodes.size(), 11u);
  // y falls from tokens to logits, x follows the position.
  EXPECT_GT(o.place(0).y(), o.place(3).y());
  EXPECT_GT(o.place(3).y(), o.place(6).y());
  EXPECT_GT(o.place(6).y(), o.place(9).y());
  EXPECT_LT(o.place(0).x(), o.place(1).x());
  EXPECT_LT(o.place(1).x(), o.place(2).x());
  EXPECT_LT(o.place(3).x(), o.place(4).x());
  const GraphData& data = o.view.canvas()->graph();
  EXPECT_EQ(data.nodes[static_cast<size_t>(o.view.drawnOf(3))].kind, LayerKind::kSoftmax);
  EXPECT_EQ(data.nodes[static_cast<size_t>(o.view.drawnOf(6))].kind, LayerKind::kRecurrent);
  EXPECT_EQ(data.nodes[static_cast<size_t>(o.view.drawnOf(6))].label, QStringLiteral("3"));
  EXPECT_EQ(data.nodes[static_cast<size_t>(o.view.drawnOf(9))].label, QStringLiteral("·of"));
  EXPECT_EQ(data.rankNames.at(1), QStringLiteral("L0"));
  EXPECT_EQ(data.nodes[static_cast<size_t>(o.view.drawnOf(4))].group, QStringLiteral("kings"));
  // Names tell nodes apart.
  std::set<QString> names;
  for (const GraphNode& n : data.nodes) names.insert(n.name);
  EXPECT_EQ(names.size(), data.nodes.size());
}

// Zoomed in, a slider takes nodes away and gives them back: scale and what is in the middle stay.
TEST(AttributionView, PruningKeepsTheZoom) {
  Open o(crowded(60));
  GraphView* canvas = o.view.canvas();
  auto* area = canvas->findChild<QAbstractScrollArea*>();
  ASSERT_TRUE(area);
  for (int i = 0; i < 3; ++i) QTest::keyClick(area, Qt::Key_Plus);
  ASSERT_FALSE(canvas->isFitted());
  const auto at = [&](int node) { return canvas->nodePosition(o.view.drawnOf(node)); };
  // Pixels a unit of the graph's own places, from two tokens, which always stay.
  const auto scale = [&] { return QLineF(at(0), at(2)).length() / QLineF(o.place(0), o.place(2)).length(); };
  const double before = scale();
  // The nearest node to the middle among those that are kept.
  const auto nearest = [&](double share) {
    const QPointF middle = QRectF(canvas->rect()).center();
    const AttributionCut cut = AttributionPruner(*o.graph).at(share, 1);
    int best = -1;
    for (size_t i = 0; i < o.graph->nodes.size(); ++i)
      if (cut.nodes[i] && o.drawn(static_cast<int>(i)) && (best < 0 || QLineF(at(static_cast<int>(i)), middle).length() < QLineF(at(best), middle).length())) best = static_cast<int>(i);
    return best;
  };
  for (double share : {0.6, 0.3, 0.9, 1.0}) {
    const size_t drawn = canvas->graph().nodes.size();
    const int held = nearest(share);
    ASSERT_GE(held, 0);
    const QPointF was = at(held);
    o.view.setShares(share, 1);
    ASSERT_NE(canvas->graph().nodes.size(), drawn) << "nothing was pruned";
    EXPECT_NEAR(scale(), before, 1e-6) << share;
    EXPECT_LE(QLineF(at(held), was).length(), 1.5) << share;
    EXPECT_FALSE(canvas->isFitted());
  }
  canvas->zoomToFit();
  o.view.setShares(0.5, 1);
  EXPECT_TRUE(canvas->isFitted());                               // nobody has zoomed: it fits as before
}

TEST(AttributionView, NodesOfOnePlaceDoNotLieOnEachOther) {
  Open o(crowded(60));
  const auto& nodes = o.view.canvas()->graph().nodes;
  std::vector<QRectF> boxes;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const QSizeF half = nodeHalfSize(nodes[i]);
    const QPointF c = o.view.canvas()->nodePlace(static_cast<int>(i));
    boxes.emplace_back(c.x() - half.width(), c.y() - half.height(), 2 * half.width(), 2 * half.height());
  }
  for (size_t a = 0; a < boxes.size(); ++a)
    for (size_t b = a + 1; b < boxes.size(); ++b) EXPECT_FALSE(boxes[a].intersects(boxes[b])) << nodes[a].name.toStdString() << " " << nodes[b].name.toStdString();
}

TEST(AttributionView, SlidersPruneAsThePrunerDoes) {
  Open o(sampleGraph());
  const AttributionPruner pruner(*o.graph);
  QSlider* nodes = o.slider("attribution_nodes");
  QSlider* edges = o.slider("attribution_edges");
  ASSERT_TRUE(nodes && edges);
  EXPECT_EQ(nodes->value(), nodes->maximum());
  nodes->setFocus();
  QSignalSpy rebuilt(&o.view, &AttributionView::rebuilt);
  for (int i = 0; i < 8; ++i) QTest::keyClick(nodes, Qt::Key_PageDown);
  EXPECT_LT(o.view.nodeShare(), 1);
  EXPECT_GT(rebuilt.count(), 0);
  AttributionCut want = pruner.at(o.view.nodeShare(), o.view.edgeShare());
  for (int i = 0; i < 11; ++i) EXPECT_EQ(o.drawn(i), want.nodes[static_cast<size_t>(i)] != 0) << i;
  EXPECT_EQ(o.view.canvas()->visibleEdges(), want.edge_count);
  // Fewer edges of the same nodes: the canvas is not laid out anew.
  const auto before = o.place(9);
  auto* spin = o.view.findChild<QDoubleSpinBox*>(QStringLiteral("attribution_edges_value"));
  spin->setFocus();
  spin->selectAll();
  QTest::keyClicks(spin, QStringLiteral("0.95"));
  QTest::keyClick(spin, Qt::Key_Return);
  EXPECT_DOUBLE_EQ(o.view.edgeShare(), 0.95);
  want = pruner.at(o.view.nodeShare(), 0.95);
  EXPECT_EQ(o.view.canvas()->visibleEdges(), want.edge_count);
  EXPECT_EQ(o.place(9), before);
  EXPECT_TRUE(o.words().contains(QStringLiteral("%1 of 10").arg(want.edge_count))) << o.words().toStdString();
}

TEST(AttributionView, AClickTellsTheNodeInWordsAndLinksLeadOn) {
  Open o(sampleGraph());
  EXPECT_TRUE(o.words().contains(QStringLiteral("0.75")) && o.words().contains(QStringLiteral("0.875")));    // the scores
  QSignalSpy picked(&o.view, &AttributionView::nodePicked);
  QWidget* canvas = o.view.canvas()->focusProxy();
  auto* area = qobject_cast<QAbstractScrollArea*>(canvas);
  ASSERT_TRUE(area);
  const QPointF at = o.view.canvas()->nodePosition(o.view.drawnOf(6));
  QTest::mouseClick(area->viewport(), Qt::LeftButton, {}, area->viewport()->mapFrom(o.view.canvas(), at.toPoint()));
  ASSERT_EQ(picked.count(), 1);
  EXPECT_EQ(picked[0][0].toInt(), 6);
  EXPECT_EQ(o.view.selectedNode(), 6);
  EXPECT_TRUE(o.words().contains(QStringLiteral("L1 feature 3 at 2")));
  EXPECT_TRUE(o.words().contains(QStringLiteral("L0 feature 11 at 2")) && o.words().contains(QStringLiteral("1.5")));   // its strongest input
  EXPECT_TRUE(o.words().contains(QStringLiteral("0.6")));
  Q_EMIT o.view.inspector()->anchorClicked(QUrl(QStringLiteral("node:4")));
  EXPECT_EQ(o.view.selectedNode(), 4);
  EXPECT_EQ(o.view.canvas()->selectedNode(), o.view.drawnOf(4));
  Q_EMIT o.view.inspector()->anchorClicked(QUrl(QStringLiteral("edge:1")));
  EXPECT_EQ(o.view.selectedEdge(), 1);
  EXPECT_EQ(o.view.selectedNode(), -1);
  // 1.5 of 1.5 + 0.75 + 0.25 reaches node 6.
  EXPECT_TRUE(o.words().contains(QStringLiteral("60 %"))) << o.words().toStdString();
  o.view.setEdgeNote(QStringLiteral("measured"));
  EXPECT_TRUE(o.words().contains(QStringLiteral("measured")));
  QTest::keyClick(canvas, Qt::Key_Escape);
  EXPECT_EQ(o.view.selectedEdge(), -1);
}

TEST(AttributionView, ErrorsCanBeHiddenAndFeaturesGetTheirLabels) {
  Open o(sampleGraph());
  auto* errors = o.view.findChild<QCheckBox*>(QStringLiteral("attribution_errors"));
  QTest::mouseClick(errors, Qt::LeftButton, {}, QPoint(8, errors->height() / 2));
  EXPECT_FALSE(errors->isChecked());
  EXPECT_FALSE(o.drawn(5) || o.drawn(8));
  EXPECT_TRUE(o.drawn(6));
  o.view.selectNode(6);
  o.view.setNotes({{{1, 3}, {QStringLiteral("royalty"), {QStringLiteral(" king")}}}});
  const GraphNode& node = o.view.canvas()->graph().nodes[static_cast<size_t>(o.view.drawnOf(6))];
  EXPECT_EQ(node.label, QStringLiteral("royalty"));
  EXPECT_TRUE(node.box);
  EXPECT_EQ(o.view.selectedNode(), 6);
  EXPECT_TRUE(o.words().contains(QStringLiteral("royalty")) && o.words().contains(QStringLiteral("·king")));
  QSignalSpy wanted(&o.view, &AttributionView::featureWanted);
  Q_EMIT o.view.inspector()->anchorClicked(QUrl(QStringLiteral("feature:1:3")));
  ASSERT_EQ(wanted.count(), 1);
}

TEST(AttributionView, TheShownGraphIsWhatIsSeen) {
  Open o(sampleGraph());
  o.view.setShares(0.6, 0.9);
  o.view.canvas()->setGroup({o.view.drawnOf(4)}, QStringLiteral("mine"));
  const AttributionGraph out = o.view.shownGraph();
  EXPECT_EQ(static_cast<int64_t>(out.nodes.size()), o.view.cut().node_count);
  EXPECT_EQ(static_cast<int64_t>(out.edges.size()), o.view.cut().edge_count);
  for (const AttributionGraph::Edge& e : out.edges) {
    ASSERT_LT(e.from, static_cast<int64_t>(out.nodes.size()));
    ASSERT_LT(e.to, static_cast<int64_t>(out.nodes.size()));
  }
  ASSERT_FALSE(out.supernodes.empty());
  bool mine = false;
  for (const AttributionGraph::Supernode& s : out.supernodes)
    if (s.name == "mine") {
      mine = true;
      ASSERT_EQ(s.nodes.size(), 1u);
      EXPECT_EQ(out.nodes[static_cast<size_t>(s.nodes[0])].feature, 11);
    }
  EXPECT_TRUE(mine);
}

TEST(AttributionView, ALargeGraphIsPrunedWithoutAStall) {
  AttributionGraph g = crowded(1500);
  for (int i = 0; i < 1500; ++i)
    for (int k = 1; k <= 10; ++k) g.edges.push_back({11 + i, 9, 0.001 * k});
  Open o(std::move(g));
  QElapsedTimer clock;
  clock.start();
  o.view.setShares(0.7, 0.9);
  EXPECT_LT(clock.elapsed(), 1500);
}

TEST(AttributionView, HostileEdgesAreLeftOut) {
  AttributionGraph g = sampleGraph();
  g.edges.push_back({-1, 99, 1});
  g.edges.push_back({6, 9, std::nan("")});
  g.tokens.clear();
  Open o(std::move(g));
  EXPECT_EQ(o.view.canvas()->visibleEdges(), 10);
  EXPECT_EQ(o.view.canvas()->graph().nodes[static_cast<size_t>(o.view.drawnOf(1))].label, QStringLiteral("#5"));
}

}  // namespace
}  // namespace microtome::desktop
