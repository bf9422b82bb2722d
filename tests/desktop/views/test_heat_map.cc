// HeatMapView as a person uses it: looking, zooming, panning, picking, brushing, saving; and hostile data.
#include <gtest/gtest.h>

#include <QApplication>
#include <QHelpEvent>
#include <QMenu>
#include <QRegularExpression>
#include <QSignalSpy>
#include <QSvgRenderer>
#include <QTest>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "heat_map_samples.h"

namespace microtome::desktop {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class HeatMap : public ::testing::Test {
 protected:
  void SetUp() override { view.resize(640, 480); }
  void show(const HeatMapData& data) {
    view.setData(data);
    view.show();
    ASSERT_TRUE(QTest::qWaitForWindowExposed(&view));
  }
  void wheel(const QPoint& at, int delta, Qt::KeyboardModifiers keys = {}) {
    // As on X11, Alt turns the wheel sideways.
    const QPoint angle = keys & Qt::AltModifier ? QPoint(delta, 0) : QPoint(0, delta);
    QWheelEvent e(at, view.mapToGlobal(at), QPoint(), angle, Qt::NoButton, keys, Qt::NoScrollPhase, false);
    QApplication::sendEvent(&view, &e);
  }
  void drag(const QPoint& from, const QPoint& to) {
    QTest::mousePress(&view, Qt::LeftButton, {}, from);
    for (int i = 1; i <= 4; ++i) {
      QMouseEvent e(QEvent::MouseMove, from + (to - from) * i / 4, view.mapToGlobal(from), Qt::NoButton, Qt::LeftButton,
                    {});
      QApplication::sendEvent(&view, &e);
    }
    QTest::mouseRelease(&view, Qt::LeftButton, {}, to);
  }
  void hover(const QPoint& at) {
    QMouseEvent e(QEvent::MouseMove, at, view.mapToGlobal(at), Qt::NoButton, Qt::NoButton, {});
    QApplication::sendEvent(&view, &e);
  }
  QRgb pixel(const QPoint& at) { return view.grab().toImage().pixel(at) & 0xffffff; }
  bool dark() const { return Theme::of(&view).dark; }

  HeatMapView view;
};

QStringList words(std::initializer_list<const char*> all) {
  QStringList out;
  for (const char* w : all) out << QString::fromUtf8(w);
  return out;
}

TEST_F(HeatMap, CellsHaveTheirColours) {
  HeatMapData d = sampleMap(4, 4, [](int64_t r, int64_t c) { return static_cast<float>(r * 4 + c); });
  show(d);
  EXPECT_EQ(view.scale(), std::pair(0.0, 15.0));
  for (const auto& [r, c] : {std::pair(0, 0), std::pair(1, 2), std::pair(3, 3)}) {
    // Beside the number that is written in the cell.
    const QPoint at = middleOf(view, r, c) + QPoint(-30, 0);
    EXPECT_EQ(pixel(at), colourOf(Look::kSequential, colourLevel(r * 4 + c, 0, 15), dark()) & 0xffffff)
        << r << "," << c;
  }
}

TEST_F(HeatMap, NumbersAreWrittenInLargeCells) {
  show(sampleMap(4, 4, [](int64_t, int64_t) { return 0.5f; }));
  const QImage image = view.grab().toImage();
  const QPoint at = middleOf(view, 1, 1);
  const QRgb ground = image.pixel(at + QPoint(-30, 0));
  int ink = 0;
  for (int dx = -16; dx <= 16; ++dx)
    for (int dy = -6; dy <= 6; ++dy) ink += image.pixel(at + QPoint(dx, dy)) != ground;
  EXPECT_GT(ink, 20);
}

TEST_F(HeatMap, HoverNamesTheCell) {
  HeatMapData d = sampleMap(4, 4, [](int64_t r, int64_t c) { return r == 2 && c == 3 ? 0.412f : 0.1f; });
  d.unit = QStringLiteral("nats");
  show(d);
  QSignalSpy text(&view, &View::hoverText), cell(&view, &HeatMapView::cellHovered);
  hover(middleOf(view, 2, 3));
  ASSERT_EQ(text.size(), 1);
  EXPECT_EQ(text.last().at(0).toString(), QStringLiteral("layer 2, head 3: effect 0.412 nats"));
  EXPECT_EQ(cell.last().at(0).toLongLong(), 2);
  EXPECT_EQ(cell.last().at(1).toLongLong(), 3);
  hover(QPoint(1, 1));
  EXPECT_EQ(text.last().at(0).toString(), QString());
  EXPECT_EQ(cell.last().at(0).toLongLong(), -1);
}

TEST_F(HeatMap, HoverShowsTokensAndKinds) {
  HeatMapData d = sampleMap(2, 2, [](int64_t, int64_t) { return 1.0f; });
  d.colAxis = {QStringLiteral("key"), words({" the", "\n"}), {}, true};
  d.rowAxis.kinds = {LayerKind::kSoftmax, LayerKind::kRecurrent};
  show(d);
  QSignalSpy text(&view, &View::hoverText);
  hover(middleOf(view, 1, 0));
  EXPECT_EQ(text.last().at(0).toString(), QStringLiteral("layer 1 (recurrent), key 0 “·the”: effect 1"));
}

TEST_F(HeatMap, MissingAndAbsentCellsAreNotColours) {
  HeatMapData d = sampleMap(3, 3, [](int64_t r, int64_t) { return r == 1 ? kNaN : 1.0f; });
  d.causal = true;
  d.look = Look::kPattern;
  show(d);
  EXPECT_EQ(pixel(middleOf(view, 0, 2)), Theme::of(&view).surface.rgb() & 0xffffff);
  // Hatched: both the surface and the lines are there.
  const QImage image = view.grab().toImage();
  const QPoint at = middleOf(view, 1, 0);
  int lines = 0, ground = 0;
  for (int i = -8; i < 8; ++i) {
    lines += image.pixel(at + QPoint(i, 0)) == Theme::of(&view).missing.rgb();
    ground += image.pixel(at + QPoint(i, 0)) == Theme::of(&view).surface.rgb();
  }
  EXPECT_GT(lines, 1);
  EXPECT_GT(ground, 4);
  QSignalSpy clicked(&view, &HeatMapView::cellClicked), text(&view, &View::hoverText);
  QTest::mouseClick(&view, Qt::LeftButton, {}, middleOf(view, 0, 2));
  EXPECT_EQ(clicked.size(), 0);
  hover(at);
  EXPECT_TRUE(text.last().at(0).toString().contains(QStringLiteral("no value")));
}

TEST_F(HeatMap, WheelZoomsAboutTheMouse) {
  show(sampleMap(50, 50, [](int64_t r, int64_t) { return static_cast<float>(r); }));
  const QPoint at = middleOf(view, 20, 30);
  wheel(at, 240);
  const QRectF seen = view.visibleCells();
  EXPECT_NEAR(seen.width(), 50 / 1.44, 0.01);
  EXPECT_NEAR(seen.height(), 50 / 1.44, 0.01);
  const QPoint now = middleOf(view, 20, 30);
  EXPECT_LE((now - at).manhattanLength(), 8);
  wheel(at, 120, Qt::ShiftModifier);
  EXPECT_LT(view.visibleCells().width(), seen.width() - 1);
  EXPECT_EQ(view.visibleCells().height(), seen.height());
  const double width = view.visibleCells().width();
  wheel(at, 120, Qt::AltModifier);
  EXPECT_EQ(view.visibleCells().width(), width);
  EXPECT_LT(view.visibleCells().height(), seen.height() - 1);
  for (int i = 0; i < 40; ++i) wheel(at, -120);
  EXPECT_EQ(view.visibleCells(), QRectF(0, 0, 50, 50));
  for (int i = 0; i < 80; ++i) wheel(at, 120);
  EXPECT_GE(view.visibleCells().width(), 2);
}

TEST_F(HeatMap, DragPansAndDoesNotClick) {
  show(sampleMap(50, 50, [](int64_t, int64_t c) { return static_cast<float>(c); }));
  view.setVisibleCells(QRectF(10, 10, 20, 20));
  QSignalSpy clicked(&view, &HeatMapView::cellClicked);
  const QPoint from = view.plotRect().center().toPoint();
  const double cell = view.plotRect().width() / 20;
  drag(from, from + QPoint(static_cast<int>(cell * 4), static_cast<int>(-cell * 2)));
  EXPECT_NEAR(view.visibleCells().left(), 6, 0.2);
  EXPECT_NEAR(view.visibleCells().top(), 12, 0.2);
  EXPECT_EQ(clicked.size(), 0);
}

TEST_F(HeatMap, ClickSelectsDoubleClickActivates) {
  show(sampleMap(5, 6, [](int64_t, int64_t c) { return static_cast<float>(c); }));
  QSignalSpy clicked(&view, &HeatMapView::cellClicked), activated(&view, &HeatMapView::cellActivated);
  QTest::mouseClick(&view, Qt::LeftButton, {}, middleOf(view, 3, 4));
  ASSERT_EQ(clicked.size(), 1);
  EXPECT_EQ(clicked[0], (QVariantList{3LL, 4LL}));
  // As a hand does it: click, second press, release.
  QTest::mouseClick(&view, Qt::LeftButton, {}, middleOf(view, 1, 2));
  QTest::mouseDClick(&view, Qt::LeftButton, {}, middleOf(view, 1, 2));
  QTest::mouseRelease(&view, Qt::LeftButton, {}, middleOf(view, 1, 2));
  ASSERT_EQ(activated.size(), 1);
  EXPECT_EQ(activated[0], (QVariantList{1LL, 2LL}));
  EXPECT_EQ(clicked.size(), 2);
}

TEST_F(HeatMap, SelectionIsFramedAndSilent) {
  show(sampleMap(5, 6, [](int64_t, int64_t) { return 1.0f; }));
  QSignalSpy clicked(&view, &HeatMapView::cellClicked);
  const auto marks = [&] {
    const QImage image = view.grab().toImage();
    int n = 0;
    for (int y = 0; y < image.height(); ++y)
      for (int x = 0; x < image.width(); ++x) n += image.pixel(x, y) == Theme::of(&view).highlight.rgb();
    return n;
  };
  EXPECT_EQ(marks(), 0);
  view.setSelectedCell(2, 2);
  EXPECT_GT(marks(), 100);
  view.setSelectedCell(-1, -1);
  EXPECT_EQ(marks(), 0);
  view.setBrushedRow(1);
  EXPECT_GT(marks(), 100);
  EXPECT_EQ(clicked.size(), 0);
}

TEST_F(HeatMap, RowAxisBrushes) {
  show(sampleMap(8, 8, [](int64_t, int64_t) { return 1.0f; }));
  QSignalSpy brushed(&view, &HeatMapView::rowBrushed);
  const int x = static_cast<int>(view.plotRect().left()) - 10;
  QTest::mouseClick(&view, Qt::LeftButton, {}, QPoint(x, middleOf(view, 2, 0).y()));
  ASSERT_EQ(brushed.size(), 1);
  EXPECT_EQ(brushed[0][0].toLongLong(), 2);
  drag(QPoint(x, middleOf(view, 3, 0).y()), QPoint(x, middleOf(view, 6, 0).y()));
  EXPECT_EQ(view.brushedRow(), 6);
  QTest::keyClick(&view, Qt::Key_Up);
  EXPECT_EQ(view.brushedRow(), 5);
  EXPECT_EQ(brushed.last()[0].toLongLong(), 5);
  QTest::keyClick(&view, Qt::Key_Escape);
  EXPECT_EQ(view.brushedRow(), -1);
  EXPECT_EQ(brushed.last()[0].toLongLong(), -1);
}

TEST_F(HeatMap, KeysMoveZoomAndActivate) {
  HeatMapData d = sampleMap(8, 8, [](int64_t, int64_t) { return 1.0f; });
  d.causal = true;
  show(d);
  QSignalSpy clicked(&view, &HeatMapView::cellClicked), activated(&view, &HeatMapView::cellActivated);
  view.setSelectedCell(3, 3);
  // There is nothing right of the diagonal.
  QTest::keyClick(&view, Qt::Key_Right);
  EXPECT_EQ(clicked.size(), 0);
  QTest::keyClick(&view, Qt::Key_Down);
  QTest::keyClick(&view, Qt::Key_Left);
  ASSERT_EQ(clicked.size(), 2);
  EXPECT_EQ(clicked[1], (QVariantList{4LL, 2LL}));
  QTest::keyClick(&view, Qt::Key_Return);
  ASSERT_EQ(activated.size(), 1);
  EXPECT_EQ(activated[0], (QVariantList{4LL, 2LL}));
  QTest::keyClick(&view, Qt::Key_Plus);
  EXPECT_LT(view.visibleCells().width(), 8);
  QTest::keyClick(&view, Qt::Key_0);
  EXPECT_EQ(view.visibleCells(), QRectF(0, 0, 8, 8));
}

TEST_F(HeatMap, SelectedCellComesIntoView) {
  show(sampleMap(100, 100, [](int64_t, int64_t) { return 1.0f; }));
  view.setVisibleCells(QRectF(0, 0, 10, 10));
  view.setSelectedCell(50, 70);
  EXPECT_TRUE(view.visibleCells().contains(QRectF(70, 50, 1, 1)));
}

TEST_F(HeatMap, NewValuesKeepZoomBrushAndSelection) {
  show(sampleMap(20, 20, [](int64_t, int64_t) { return kNaN; }));
  view.setVisibleCells(QRectF(2, 3, 10, 10));
  view.setBrushedRow(4);
  QSignalSpy brushed(&view, &HeatMapView::rowBrushed);
  auto values = std::make_shared<std::vector<float>>(400, kNaN);
  (*values)[0] = 2;
  view.setValues(values);
  EXPECT_EQ(view.visibleCells(), QRectF(2, 3, 10, 10));
  EXPECT_EQ(view.brushedRow(), 4);
  EXPECT_EQ(brushed.size(), 0);
  EXPECT_EQ(view.scale(), std::pair(0.0, 2.0));
  // The scale grows, and does not shrink again.
  values = std::make_shared<std::vector<float>>(400, 5.0f);
  view.setValues(values);
  EXPECT_EQ(view.scale(), std::pair(0.0, 5.0));
  view.setValues(std::make_shared<std::vector<float>>(400, 1.0f));
  EXPECT_EQ(view.scale(), std::pair(0.0, 5.0));
  // Of another shape: not taken.
  view.setValues(std::make_shared<std::vector<float>>(3, 9.0f));
  view.setValues(nullptr);
  EXPECT_EQ(view.data().values->size(), 400u);
}

TEST_F(HeatMap, ScaleByHandAndByMenu) {
  HeatMapData d = sampleMap(3, 3, [](int64_t r, int64_t) { return static_cast<float>(r) - 0.5f; });
  show(d);
  EXPECT_EQ(view.scale(), std::pair(-0.5, 1.5));
  const auto choose = [&](const char* name) {
    std::unique_ptr<QMenu> menu(view.makeMenu(&view));
    auto* action = menu->findChild<QAction*>(QString::fromLatin1(name));
    ASSERT_NE(action, nullptr) << name;
    action->trigger();
  };
  choose("scale_symmetric");
  EXPECT_EQ(view.scale(), std::pair(-1.5, 1.5));
  choose("scale_unit");
  EXPECT_EQ(view.scale(), std::pair(0.0, 1.0));
  choose("scale_automatic");
  view.setScale(-2, 8);
  EXPECT_EQ(view.scale(), std::pair(-2.0, 8.0));
  // White stays at zero on a diverging map.
  d.look = Look::kDiverging;
  view.setData(d);
  view.setScale(-2, 8);
  EXPECT_EQ(view.scale(), std::pair(-8.0, 8.0));
  view.setVisibleCells(QRectF(0, 0, 2, 2));
  choose("map_fit");
  EXPECT_EQ(view.visibleCells(), QRectF(0, 0, 3, 3));
}

TEST_F(HeatMap, CsvIsQuotedByTheBook) {
  HeatMapData d =
      sampleMap(2, 3, [](int64_t r, int64_t c) { return r == 1 && c == 1 ? kNaN : 0.1f * static_cast<float>(c); });
  d.rowAxis.labels = words({"a,b", "say \"hi\""});
  d.colAxis.labels = words({"x", "line\nbreak", " "});
  view.setData(d);
  EXPECT_EQ(view.csv(),
            QStringLiteral("layer\\head,x,\"line\nbreak\", \r\n\"a,b\",0,0.1,0.2\r\n\"say \"\"hi\"\"\",0,,0.2\r\n"));
  d.causal = true;
  view.setData(d);
  EXPECT_TRUE(view.csv().contains(QStringLiteral("\"a,b\",0,,\r\n")));
}

TEST_F(HeatMap, SvgIsVectorWithLabelsAsText) {
  HeatMapData d = sampleMap(4, 4, [](int64_t r, int64_t c) { return static_cast<float>(r * c); });
  d.rowAxis.labels = words({"L0", "L1", "L2", "Layer<3>"});
  d.unit = QStringLiteral("nats");
  view.setData(d);
  const QByteArray small = view.svg();
  EXPECT_FALSE(small.contains("<image"));
  EXPECT_TRUE(small.contains("Layer&lt;3&gt;"));
  EXPECT_TRUE(small.contains("effect (nats)"));
  EXPECT_TRUE(QSvgRenderer(small).isValid());
  view.setData(sampleMap(100, 100, [](int64_t r, int64_t c) { return static_cast<float>(r * c); }));
  const QByteArray large = view.svg();
  EXPECT_TRUE(large.contains("<image"));
  EXPECT_TRUE(large.contains(">head<"));
  EXPECT_FALSE(view.image().isNull());
}

TEST_F(HeatMap, ColourBarExplainsItself) {
  HeatMapData d = sampleMap(4, 4, [](int64_t r, int64_t) { return static_cast<float>(r); });
  d.help = QStringLiteral("Change of <the> logit difference.");
  show(d);
  const QPoint at(static_cast<int>(view.plotRect().right()) + 20, static_cast<int>(view.plotRect().center().y()));
  QHelpEvent e(QEvent::ToolTip, at, view.mapToGlobal(at));
  QApplication::sendEvent(&view, &e);
  EXPECT_TRUE(QToolTip::text().contains(QStringLiteral("effect: Change of &lt;the&gt; logit")))
      << qPrintable(QToolTip::text());
  QToolTip::hideText();
  // Without the bar there is more room for cells.
  d = sampleMap(40, 400, [](int64_t r, int64_t) { return static_cast<float>(r); });
  view.setData(d);
  const double width = view.plotRect().width();
  view.setShowColourBar(false);
  EXPECT_GT(view.plotRect().width(), width + 30);
}

TEST_F(HeatMap, RowLabelsNeverOverlap) {
  HeatMapData d = sampleMap(300, 6, [](int64_t, int64_t) { return 0.5f; });
  d.colAxis.labels = words({"a", "b", "c", "d", "e", "f"});
  view.setData(d);
  view.setShowColourBar(false);
  for (double rows : {300.0, 211.3, 97.0, 40.5, 17.0, 5.0, 2.0}) {
    view.setVisibleCells(QRectF(0, 33.3, 6, rows));
    static const QRegularExpression text(QStringLiteral("<text[^>]* y=\"([-0-9.]+)\"[^>]*>\\s*[0-9]+\\s*</text>"));
    std::vector<double> places;
    auto it = text.globalMatch(QString::fromUtf8(view.svg()));
    while (it.hasNext()) places.push_back(it.next().captured(1).toDouble());
    std::sort(places.begin(), places.end());
    ASSERT_GE(places.size(), 2u) << rows;
    for (size_t i = 1; i < places.size(); ++i) EXPECT_GE(places[i] - places[i - 1], 11) << rows;
  }
}

TEST_F(HeatMap, WorkOfALargeMapMayBeOvertakenOrLeft) {
  HeatMapData d = sampleMap(1500, 1500, [](int64_t r, int64_t) { return static_cast<float>(r); });
  d.look = Look::kPattern;
  auto other = std::make_unique<HeatMapView>();
  other->setData(d);
  other->setValues(std::make_shared<std::vector<float>>(d.values->size(), 7.0f));
  other.reset();
  show(d);
  auto values = std::make_shared<std::vector<float>>(d.values->size(), 1.0f);
  (*values)[1234567] = 9999;
  view.setValues(values);
  // The largest number, that a sample misses, sets the scale in the end.
  EXPECT_TRUE(QTest::qWaitFor([&] { return view.scale().second == 9999; }, 5000));
  view.setData(sampleMap(2, 2, [](int64_t, int64_t) { return 1.0f; }));
  QTest::qWait(50);
  EXPECT_EQ(view.scale(), std::pair(0.0, 1.0));
}

TEST_F(HeatMap, EmptyViewSaysWhatToDo) {
  view.clear(QStringLiteral("Run head patching first."));
  view.show();
  const QImage with = view.grab().toImage();
  view.clear(QStringLiteral("x"));
  EXPECT_NE(with, view.grab().toImage());
  EXPECT_TRUE(view.csv().isEmpty());
  QTest::keyClick(&view, Qt::Key_Left);
  QTest::mouseClick(&view, Qt::LeftButton, {}, QPoint(50, 50));
  wheel(QPoint(50, 50), 120);
  EXPECT_FALSE(view.svg().isEmpty());
}

TEST_F(HeatMap, HostileDataIsDrawnOrRefused) {
  HeatMapData d = sampleMap(2, 2, [](int64_t, int64_t) { return 1.0f; });
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{0, 2}, {-1, -4}, {3, 3}, {int64_t{1} << 62, 4}, {2, int64_t{1} << 62}}) {
    d.rows = rows;
    d.cols = cols;
    view.setData(d);
    EXPECT_EQ(view.data().values, nullptr) << rows;
  }
  const float inf = std::numeric_limits<float>::infinity();
  d = sampleMap(3, 3, [&](int64_t r, int64_t c) { return r == 0 ? inf : c == 0 ? -inf : r == 1 ? 3e38f : 1e-40f; });
  d.rowAxis.labels = {QString(100000, QLatin1Char('w')), QString(QChar(0x202e)) + QStringLiteral("evil"), QString()};
  d.rowAxis.name = QString(5000, QLatin1Char('n'));
  d.label = QString(5000, QLatin1Char('l'));
  d.rowAxis.tokens = true;
  d.colAxis.labels = {QStringLiteral("one")};  // of another length: not used
  for (Look look : {Look::kSequential, Look::kDiverging, Look::kPattern}) {
    d.look = look;
    show(d);
    for (const QSize size : {QSize(1, 1), QSize(30, 900), QSize(900, 30), QSize(160, 120), QSize(640, 480)}) {
      view.resize(size);
      view.grab();
    }
    EXPECT_FALSE(view.svg().isEmpty());
  }
  EXPECT_GT(view.plotRect().width(), 100);
  view.setVisibleCells(QRectF(-inf, 0, inf, 3));
  view.setVisibleCells(QRectF(-100, -100, 1e9, 1e9));
  EXPECT_EQ(view.visibleCells(), QRectF(0, 0, 3, 3));
  view.setSelectedCell(99, 99);
  view.setBrushedRow(99);
  EXPECT_EQ(view.brushedRow(), -1);
}

TEST_F(HeatMap, AllMissing) {
  HeatMapData d = sampleMap(6, 6, [](int64_t, int64_t) { return kNaN; });
  d.look = Look::kDiverging;
  show(d);
  EXPECT_EQ(view.scale(), std::pair(-1.0, 1.0));
  EXPECT_FALSE(view.grab().isNull());
}

}  // namespace
}  // namespace microtome::desktop
