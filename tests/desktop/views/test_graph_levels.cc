// What a panel of circuits asks of the graph and the chart: edges that come and go by a level of their own, marks, places, a log axis.
#include <QLineEdit>
#include <QSignalSpy>
#include <QtTest/QTest>

#include <gtest/gtest.h>

#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/graph_canvas.h"
#include "tests/desktop/views/graph_samples.h"

namespace microtome::desktop {
namespace {

GraphData gridOf(const Circuit& circuit) {
  GraphData data = graphOf(circuit, false);
  data.grid = true;
  return data;
}

TEST(GraphLevels, AThresholdIsComparedWithLevelsAndNodesStay) {
  GraphView view;
  view.resize(700, 500);
  GraphData data = gridOf(smallCircuit());
  const auto count = static_cast<int>(data.edges.size());
  for (int e = 0; e < count; ++e) data.edges[static_cast<size_t>(e)].level = e < 3 ? -1 : e;   // three are never there
  view.setThreshold(0.5);
  view.setGraph(data);
  EXPECT_EQ(view.visibleEdges(), count - 3);
  view.setThreshold(count - 2);
  EXPECT_EQ(view.visibleEdges(), 2);
  const QString csv = view.csv();
  EXPECT_EQ(csv.count(QStringLiteral("\r\n")), 3);
  for (int e : {count - 1, count - 2}) EXPECT_TRUE(csv.contains(QString::number(data.edges[static_cast<size_t>(e)].score, 'g', 9)));

  const QPointF before = view.nodePlace(4);
  view.setSelectedEdge(count - 1);
  EXPECT_EQ(view.selectedEdge(), count - 1);
  std::vector<double> other(static_cast<size_t>(count), -1);
  other[0] = other.back() = 1;
  view.setLevels(other, 0.5);
  EXPECT_EQ(view.visibleEdges(), 2);
  EXPECT_EQ(view.selectedEdge(), count - 1) << "the same edge, wherever it now stands";
  EXPECT_EQ(view.nodePlace(4), before);
  view.setLevels({1, 2}, 0);
  EXPECT_EQ(view.visibleEdges(), 2) << "not one a edge: ignored";
  other.back() = -1;
  view.setLevels(other, 0.5);
  EXPECT_EQ(view.selectedEdge(), -1) << "what is not shown is not selected";
  view.setSelectedEdge(count - 1);
  EXPECT_EQ(view.selectedEdge(), -1);
  view.setNodePlace(4, QPointF(33, -70));
  EXPECT_EQ(view.nodePlace(4), QPointF(33, -70));
  view.setNodePlace(4, QPointF(std::numeric_limits<double>::quiet_NaN(), 0));
  EXPECT_EQ(view.nodePlace(4), QPointF(33, -70));
}

TEST(GraphLevels, AGridIsNotLaidOutAndItsNodesStandClear) {
  GraphView view;
  view.resize(700, 500);
  view.show();
  QSignalSpy done(&view, &GraphView::layoutDone);
  view.setGraph(gridOf(smallCircuit()));
  EXPECT_FALSE(done.wait(1500));
  const GraphData& data = view.graph();
  for (size_t a = 0; a < data.nodes.size(); ++a)
    for (size_t b = 0; b < a; ++b) {
      const QPointF d = view.nodePlace(static_cast<int>(a)) - view.nodePlace(static_cast<int>(b));
      EXPECT_TRUE(std::abs(d.x()) >= 40 || std::abs(d.y()) >= 40) << a << " " << b;
      if (data.nodes[a].rank > data.nodes[b].rank) {
        EXPECT_LT(d.y(), 0);
      }
    }
}

TEST(GraphLevels, MarksRingNodesAndLetOtherEdgesStepBack) {
  GraphView view;
  view.resize(700, 500);
  view.setGraph(gridOf(smallCircuit()));
  const QImage plain = view.image(1);
  std::vector<char> edges(view.graph().edges.size(), 0);
  edges[3] = 1;
  view.setMarked({}, edges);
  const QImage pale = view.image(1);
  EXPECT_NE(plain, pale);
  // Paler: nearer to the surface.
  const auto ink = [](const QImage& image) {
    int64_t sum = 0;
    for (int y = 0; y < image.height(); ++y)
      for (int x = 0; x < image.width(); ++x) sum += 255 - qGray(image.pixel(x, y));
    return sum;
  };
  EXPECT_LT(ink(pale), ink(plain));
  view.setMarked({2}, edges);
  EXPECT_GT(ink(view.image(1)), ink(pale));
  view.setMarked({}, {});
  EXPECT_EQ(view.image(1), plain);
}

TEST(GraphLevels, EnterInANoteDoesNotOpenTheNode) {
  GraphView view;
  view.resize(700, 500);
  view.show();
  ASSERT_TRUE(QTest::qWaitForWindowExposed(&view));
  view.setGraph(gridOf(smallCircuit()));
  auto* canvas = view.findChild<GraphCanvas*>();
  QTest::mouseClick(canvas->viewport(), Qt::LeftButton, {}, canvas->viewport()->mapFrom(&view, view.nodePosition(4).toPoint()));
  QSignalSpy opened(&view, &GraphView::nodeActivated);
  QTest::keyClick(canvas, Qt::Key_N);
  auto* line = view.findChild<QLineEdit*>();
  ASSERT_TRUE(line);
  QTest::keyClicks(line, QStringLiteral("a word"));
  QTest::keyClick(line, Qt::Key_Return);
  EXPECT_EQ(view.graph().nodes[4].note, QStringLiteral("a word"));
  EXPECT_EQ(opened.count(), 0);
  QTest::keyClick(canvas, Qt::Key_Return);
  EXPECT_EQ(opened.count(), 1);
}

TEST(ChartLogX, NumbersAreGivenAsWhatTheyStandFor) {
  ChartView chart;
  chart.resize(400, 300);
  ChartData data;
  data.logX = true;
  data.xLabel = QStringLiteral("edges");
  data.lines.push_back({QStringLiteral("f"), {}, {0, 1, 3}, {0.1, 0.5, 1}});
  chart.setData(data);
  EXPECT_TRUE(chart.csv().contains(QStringLiteral("f,1000,1")));
  EXPECT_TRUE(chart.svg().contains("1000")) << "a tick says what it stands for";
}

}  // namespace
}  // namespace microtome::desktop
