// HeatMapGridView: picking by mouse and keys, scales per look, heads that do not exist, saving.
#include <gtest/gtest.h>

#include <QApplication>
#include <QElapsedTimer>
#include <QSignalSpy>
#include <QTest>
#include <algorithm>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map_grid.h"
#include "heat_map_samples.h"

namespace microtome::desktop {
namespace {

HeatMapGridData sampleGrid(int64_t rows, int64_t cols, int64_t side) {
  HeatMapGridData g;
  g.rows = rows;
  g.cols = cols;
  g.rowAxis.name = QStringLiteral("layer");
  g.colAxis.name = QStringLiteral("head");
  for (int64_t r = 0; r < rows; ++r) {
    g.rowAxis.labels << QStringLiteral("L%1").arg(r);
    g.rowAxis.kinds.push_back(r % 2 ? LayerKind::kRecurrent : LayerKind::kSoftmax);
    for (int64_t c = 0; c < cols; ++c) {
      HeatMapData m = sampleMap(
          side, side, [&](int64_t i, int64_t k) { return r % 2 ? (i == k ? -2.0f : 0.5f) : (i == k ? 0.75f : 0.0f); });
      m.causal = true;
      m.look = r % 2 ? Look::kDiverging : Look::kPattern;
      m.label = r % 2 ? QStringLiteral("implied") : QStringLiteral("attention");
      g.maps.push_back(m);
    }
  }
  for (int64_t c = 0; c < cols; ++c) g.colAxis.labels << QStringLiteral("H%1").arg(c);
  return g;
}

// A point of each map is found by asking the view itself, as a hand would: by hovering.
QPoint findMap(HeatMapGridView& view, const QString& start) {
  QSignalSpy text(&view, &View::hoverText);
  for (int y = 4; y < view.height(); y += 6) {
    for (int x = 4; x < view.width(); x += 6) {
      QMouseEvent e(QEvent::MouseMove, QPoint(x, y), view.mapToGlobal(QPoint(x, y)), Qt::NoButton, Qt::NoButton, {});
      QApplication::sendEvent(&view, &e);
      if (!text.isEmpty() && text.last().at(0).toString().startsWith(start)) return QPoint(x + 6, y + 6);
    }
  }
  return {};
}

TEST(HeatMapGrid, HoverNamesLayerHeadAndRange) {
  HeatMapGridView view;
  view.resize(500, 450);
  view.setData(sampleGrid(4, 4, 16));
  QSignalSpy text(&view, &View::hoverText);
  ASSERT_NE(findMap(view, QStringLiteral("layer L2 (softmax), head H3")), QPoint());
  EXPECT_EQ(text.last().at(0).toString(), QStringLiteral("layer L2 (softmax), head H3: attention up to 0.75"));
  ASSERT_NE(findMap(view, QStringLiteral("layer L1 (recurrent), head H0")), QPoint());
  EXPECT_EQ(text.last().at(0).toString(), QStringLiteral("layer L1 (recurrent), head H0: implied from −2 to 0.5"));
}

TEST(HeatMapGrid, ClickPicksAndSelectionIsFramed) {
  HeatMapGridView view;
  view.resize(500, 450);
  view.setData(sampleGrid(4, 4, 16));
  QSignalSpy picked(&view, &HeatMapGridView::picked), activated(&view, &HeatMapGridView::activated);
  const QPoint at = findMap(view, QStringLiteral("layer L2 (softmax), head H1"));
  QTest::mouseClick(&view, Qt::LeftButton, {}, at);
  ASSERT_EQ(picked.size(), 1);
  EXPECT_EQ(picked[0], (QVariantList{2LL, 1LL}));
  EXPECT_EQ(view.selected(), (std::pair<int64_t, int64_t>(2, 1)));
  const auto marks = [&] {
    const QImage image = view.grab().toImage();
    int n = 0;
    for (int y = 0; y < image.height(); ++y)
      for (int x = 0; x < image.width(); ++x) n += image.pixel(x, y) == Theme::of(&view).highlight.rgb();
    return n;
  };
  EXPECT_GT(marks(), 100);
  view.setSelected(-1, -1);
  EXPECT_EQ(marks(), 0);
  EXPECT_EQ(picked.size(), 1);
  QTest::mouseDClick(&view, Qt::LeftButton, {}, at);
  EXPECT_EQ(activated.size(), 1);
}

TEST(HeatMapGrid, KeysMoveOverHeadsThatDoNotExist) {
  HeatMapGridView view;
  view.resize(500, 450);
  HeatMapGridData g = sampleGrid(3, 4, 8);
  g.maps[1] = {};
  view.setData(g);
  view.setSelected(0, 1);
  EXPECT_EQ(view.selected().first, -1) << "a head that does not exist can't be selected";
  QSignalSpy picked(&view, &HeatMapGridView::picked);
  view.setSelected(0, 0);
  QTest::keyClick(&view, Qt::Key_Right);
  EXPECT_EQ(view.selected(), (std::pair<int64_t, int64_t>(0, 2)));
  QTest::keyClick(&view, Qt::Key_Up);
  EXPECT_EQ(picked.size(), 1);
  QTest::keyClick(&view, Qt::Key_Down);
  EXPECT_EQ(picked.last(), (QVariantList{1LL, 2LL}));
}

TEST(HeatMapGrid, EachLookHasOneScale) {
  HeatMapGridView view;
  view.resize(500, 450);
  HeatMapGridData g = sampleGrid(2, 2, 2);
  // One recurrent map with larger values sets the scale of the other.
  g.maps[3] = sampleMap(2, 2, [](int64_t, int64_t) { return 8.0f; });
  g.maps[3].look = Look::kDiverging;
  view.setData(g);
  const bool dark = Theme::of(&view).dark;
  const auto has = [&](QRgb colour) {
    const QImage image = view.grab().toImage();
    int n = 0;
    for (int y = 0; y < image.height(); ++y)
      for (int x = 0; x < image.width() - 110; ++x) n += (image.pixel(x, y) & 0xffffff) == (colour & 0xffffff);
    return n > 200;
  };
  EXPECT_TRUE(has(colourOf(Look::kDiverging, colourLevel(-2, -8, 8), dark)));
  EXPECT_TRUE(has(colourOf(Look::kPattern, 255, dark)));
  g.commonScale = false;
  view.setData(g);
  EXPECT_TRUE(has(colourOf(Look::kDiverging, 0, dark)));
}

TEST(HeatMapGrid, TwelveByTwelveIsFluid) {
  HeatMapGridView view;
  view.resize(900, 700);
  view.setData(sampleGrid(12, 12, 64));
  view.show();
  ASSERT_TRUE(QTest::qWaitForWindowExposed(&view));
  QTest::qWait(50);
  std::vector<double> frames;
  for (int i = 0; i < 60; ++i) {
    view.setSelected(i % 12, i / 5);
    QElapsedTimer clock;
    clock.start();
    view.repaint();
    frames.push_back(static_cast<double>(clock.nsecsElapsed()) / 1e6);
  }
  std::sort(frames.begin(), frames.end());
  std::printf("grid 12 x 12 of 64 x 64: median %.2f ms, worst %.2f ms\n", frames[frames.size() / 2], frames.back());
  EXPECT_LT(frames[frames.size() / 2], 33);
}

TEST(HeatMapGrid, LargeMapsAreMeasuredByAWorker) {
  HeatMapGridView view;
  view.resize(700, 600);
  QElapsedTimer clock;
  const HeatMapGridData g = sampleGrid(2, 2, 700);
  clock.start();
  view.setData(g);
  EXPECT_LT(clock.elapsed(), 50);
  view.show();
  QSignalSpy text(&view, &View::hoverText);
  const auto measured = [&] {
    view.setSelected(-1, -1);
    view.setSelected(0, 0);
    return view.accessibleDescription().contains(QStringLiteral("up to 0.75"));
  };
  EXPECT_TRUE(QTest::qWaitFor(measured, 5000));
}

TEST(HeatMapGrid, CsvSvgAndNonsense) {
  HeatMapGridView view;
  view.resize(400, 400);
  view.setData(sampleGrid(1, 2, 2));
  EXPECT_EQ(view.csv(),
            QStringLiteral("layer,head,layer,head,value\r\nL0,H0,0,0,0.75\r\nL0,H0,1,0,0\r\nL0,H0,1,1,0.75\r\n"
                           "L0,H1,0,0,0.75\r\nL0,H1,1,0,0\r\nL0,H1,1,1,0.75\r\n"));
  EXPECT_TRUE(view.svg().contains(">H1<"));
  HeatMapGridData bad = sampleGrid(2, 2, 2);
  bad.rows = int64_t{1} << 62;
  view.setData(bad);
  EXPECT_EQ(view.data().rows, 0);
  HeatMapGridData empty = sampleGrid(2, 2, 2);
  for (HeatMapData& m : empty.maps) m = {};
  view.setData(empty);
  for (const QSize size : {QSize(1, 1), QSize(20, 600), QSize(600, 20), QSize(400, 400)}) {
    view.resize(size);
    EXPECT_FALSE(view.grab().isNull());
  }
  QTest::keyClick(&view, Qt::Key_Right);
  EXPECT_EQ(view.selected().first, -1);
  EXPECT_FALSE(view.svg().isEmpty());
}

}  // namespace
}  // namespace microtome::desktop
