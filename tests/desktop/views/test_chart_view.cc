#include "app/desktop/views/chart_view.h"

#include <gtest/gtest.h>

#include <QApplication>
#include <QElapsedTimer>
#include <QHelpEvent>
#include <QMenu>
#include <QSignalSpy>
#include <QToolTip>
#include <QWheelEvent>
#include <QtCharts/QLineSeries>
#include <QtCharts/QScatterSeries>
#include <QtTest/QTest>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_canvas.h"

namespace microtome::desktop {
namespace {

const double kNan = std::nan("");
constexpr double kInf = std::numeric_limits<double>::infinity();

ChartLine lineOf(const char* name, std::vector<double> y) {
  ChartLine line;
  line.name = QString::fromUtf8(name);
  for (size_t i = 0; i < y.size(); ++i) line.x.push_back(static_cast<double>(i));
  line.y = std::move(y);
  return line;
}

ChartData twoLines() {
  ChartData d;
  d.xLabel = QStringLiteral("step");
  d.yLabel = QStringLiteral("loss (nats)");
  d.lines = {lineOf("one", {1, 2, kNan, 4, 5, 6}), lineOf("two", {6, 5, 4, 3, 2, 1})};
  return d;
}

void show(ChartView& view, int width = 640, int height = 400) {
  view.resize(width, height);
  view.show();
  QTest::qWait(20);
}

// What Qt Charts has been given and shows.
std::vector<QLineSeries*> linesShown(const ChartView& view) {
  std::vector<QLineSeries*> out;
  for (QAbstractSeries* s : view.canvas()->chart()->series())
    if (auto* line = qobject_cast<QLineSeries*>(s); line && line->isVisible() && line->count() > 0) out.push_back(line);
  return out;
}

QPoint pixel(const ChartView& view, double x, double y) { return view.canvas()->frame().toPixel(x, y).toPoint(); }

void moveMouse(const ChartView& view, const QPoint& at, Qt::MouseButtons buttons = {}, Qt::KeyboardModifiers keys = {}) {
  QWidget* to = view.canvas()->viewport();
  QMouseEvent move(QEvent::MouseMove, at, to->mapToGlobal(QPointF(at)), Qt::NoButton, buttons, keys);
  QApplication::sendEvent(to, &move);
}

void turnWheel(const ChartView& view, const QPoint& at, int notches) {
  QWidget* to = view.canvas()->viewport();
  QWheelEvent wheel(at, to->mapToGlobal(QPointF(at)), {}, QPoint(0, 120 * notches), {}, {}, Qt::NoScrollPhase, false);
  QApplication::sendEvent(to, &wheel);
}

TEST(ChartLines, MissingValuesBreakALine) {
  const DrawnLine d = drawnLine({0, 1, 2, 3, 4, 5, 6}, {1, 2, kNan, 4, kInf, 6, 7}, true, -1, 10, false);
  ASSERT_EQ(d.pieces.size(), 2u);
  EXPECT_EQ(d.pieces[0], (QList<QPointF>{{0, 1}, {1, 2}}));
  EXPECT_EQ(d.pieces[1], (QList<QPointF>{{5, 6}, {6, 7}}));
  EXPECT_EQ(d.dots, (QList<QPointF>{{3, 4}}));
  const DrawnLine log = drawnLine({0, 1, 2}, {10, 0, 100}, true, -1, 10, true);
  EXPECT_TRUE(log.pieces.empty());
  EXPECT_EQ(log.dots, (QList<QPointF>{{0, 1}, {2, 2}}));
}

TEST(ChartLines, ThinningKeepsPeaks) {
  std::vector<double> x(100000), y(100000, 1.0);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
  y[70001] = 50;
  y[30003] = -50;
  const DrawnLine d = drawnLine(x, y, true, 0, 1e6, false);
  ASSERT_EQ(d.pieces.size(), 1u);
  EXPECT_LE(d.pieces[0].size(), kMostPoints);
  EXPECT_TRUE(d.pieces[0].contains(QPointF(70001, 50)));
  EXPECT_TRUE(d.pieces[0].contains(QPointF(30003, -50)));
  for (qsizetype i = 1; i < d.pieces[0].size(); ++i) EXPECT_GE(d.pieces[0][i].x(), d.pieces[0][i - 1].x());
  // Zoomed in, every point is there, and one on either side.
  EXPECT_EQ(drawnLine(x, y, true, 100, 200, false).pieces[0].size(), 103);
  // A gap wider than a bucket stays a gap.
  for (size_t i = 40000; i < 60000; ++i) y[i] = kNan;
  EXPECT_EQ(drawnLine(x, y, true, 0, 1e6, false).pieces.size(), 2u);
  // A comb of gaps does not become a thousand series.
  std::vector<double> comb(1500);
  for (size_t i = 0; i < comb.size(); ++i) comb[i] = i % 3 == 2 ? kNan : 1.0;
  const DrawnLine c = drawnLine(std::vector<double>(x.begin(), x.begin() + 1500), comb, true, 0, 1500, false);
  EXPECT_TRUE(c.pieces.empty());
  EXPECT_EQ(c.dots.size(), 1000);
  const ChartRange all{0, 50000, -50, 50};
  EXPECT_LE(drawnPoints(x, y, all, false).size(), kMostPoints);
}

TEST(ChartLines, SmoothingHasTheHalfLifeItSays) {
  // An impulse at 0 in a long row of zeros: the weight halves after every half-life.
  std::vector<double> y(200, 0.0);
  y[100] = 1;
  const std::vector<double> s = smoothed(y, 10);
  EXPECT_NEAR(s[110] / s[100], 0.5, 1e-3);
  EXPECT_NEAR(s[130] / s[100], 0.125, 1e-3);
  const std::vector<double> flat = smoothed({3, 3, kNan, 3}, 5);
  EXPECT_DOUBLE_EQ(flat[0], 3);
  EXPECT_TRUE(std::isnan(flat[2]));
  EXPECT_DOUBLE_EQ(flat[3], 3);
  EXPECT_EQ(smoothed({1, 2}, 0), (std::vector<double>{1, 2}));
}

TEST(ChartLines, TicksHaveTheDigitsTheirStepNeeds) {
  EXPECT_EQ(tickText(0.30000000000000004, 0.1), QStringLiteral("0.3"));
  EXPECT_EQ(tickText(1000020, 10), QStringLiteral("1.00002e+06"));
  EXPECT_EQ(tickText(1.5, 0.5), QStringLiteral("1.5"));
  EXPECT_EQ(tickText(1e-19, 0.1), QStringLiteral("0"));
  EXPECT_EQ(decadeText(-5), QStringLiteral("10⁻⁵"));
  EXPECT_EQ(decadeText(2), QStringLiteral("100"));
  for (const auto& [lo, hi] : {std::pair{-3.0, 2.0}, {-0.2, 0.3}, {-300.0, 300.0}, {1.9, 2.1}}) {
    const auto ticks = logTicks(lo, hi, 6);
    EXPECT_FALSE(ticks.empty()) << lo;
    EXPECT_LT(ticks.size(), 1000u);
    for (const ChartTick& t : ticks) EXPECT_TRUE(t.at >= lo && t.at <= hi);
  }
  EXPECT_TRUE(linearTicks(0, kInf, 5).empty());
  EXPECT_EQ(unitOf(QStringLiteral("loss (nats)")), QStringLiteral("nats"));
  EXPECT_TRUE(unitOf(QStringLiteral("loss")).isEmpty());
}

TEST(ChartView, QtChartsShowsTheNumbersWhereTheFrameSays) {
  ChartView view;
  view.setData(twoLines());
  show(view);
  const auto lines = linesShown(view);
  ASSERT_EQ(lines.size(), 3u) << "a gap makes two pieces of the first line";
  for (QLineSeries* s : lines)
    for (const QPointF& p : s->points()) {
      const QPointF chart = view.canvas()->chart()->mapToPosition(p, s),
                    ours = view.canvas()->frame().toPixel(p.x(), p.y());
      EXPECT_NEAR(chart.x(), ours.x(), 1);
      EXPECT_NEAR(chart.y(), ours.y(), 1);
    }
  EXPECT_EQ(view.canvas()->frame().legend.size(), 2u);
  ChartData one = twoLines();
  one.lines.resize(1);
  view.setData(one);
  EXPECT_TRUE(view.canvas()->frame().legend.empty()) << "one line needs no legend";
}

TEST(ChartView, LegendClickHidesALine) {
  ChartView view;
  view.setData(twoLines());
  show(view);
  const QPoint key = view.canvas()->frame().legend[1].rect.center().toPoint();
  QTest::mouseClick(view.canvas()->viewport(), Qt::LeftButton, {}, key);
  EXPECT_FALSE(view.isLineVisible(1));
  EXPECT_EQ(linesShown(view).size(), 2u);
  view.setData(twoLines());
  EXPECT_FALSE(view.isLineVisible(1)) << "new numbers of the same lines";
  QTest::mouseClick(view.canvas()->viewport(), Qt::LeftButton, {}, key);
  EXPECT_TRUE(view.isLineVisible(1));
  EXPECT_EQ(linesShown(view).size(), 3u);
}

TEST(ChartView, HoverTellsTheNearestPoint) {
  ChartView view;
  view.setData(twoLines());
  show(view);
  QSignalSpy text(&view, &View::hoverText);
  moveMouse(view, pixel(view, 1.2, 4.8));
  ASSERT_EQ(text.count(), 1);
  EXPECT_EQ(text[0][0].toString(), QStringLiteral("two: x = 1, y = 5 nats"));
  moveMouse(view, pixel(view, 1.2, 2.2));
  EXPECT_EQ(text[1][0].toString(), QStringLiteral("one: x = 1, y = 2 nats"));
  QEvent leave(QEvent::Leave);
  QApplication::sendEvent(view.canvas(), &leave);
  EXPECT_TRUE(text.last()[0].toString().isEmpty());
}

TEST(ChartView, CursorFollowsClickDragAndKeys) {
  ChartView view;
  ChartData d = twoLines();
  d.xTicks = QStringList{QStringLiteral("When"), QStringLiteral(" Mary"), QStringLiteral(" and"), QStringLiteral(" John"),
                         QStringLiteral("\n"), QStringLiteral(" gave")};
  view.setData(d);
  show(view);
  QSignalSpy moved(&view, &ChartView::cursorMoved), clicked(&view, &ChartView::pointClicked);
  QWidget* port = view.canvas()->viewport();
  QTest::mousePress(port, Qt::LeftButton, {}, pixel(view, 2.3, 3));
  EXPECT_EQ(view.cursor(), 2) << "tokens have no places between them";
  moveMouse(view, pixel(view, 4.1, 3), Qt::LeftButton);
  EXPECT_EQ(view.cursor(), 4);
  QTest::mouseRelease(port, Qt::LeftButton, {}, pixel(view, 4.1, 3));
  EXPECT_EQ(moved.count(), 2);
  EXPECT_EQ(clicked.count(), 0);
  QTest::keyClick(view.canvas(), Qt::Key_Left);
  EXPECT_EQ(view.cursor(), 3);
  EXPECT_EQ(moved.count(), 3);
  QTest::mouseClick(port, Qt::LeftButton, {}, pixel(view, 1, 5));
  ASSERT_EQ(clicked.count(), 1);
  EXPECT_EQ(clicked[0][0].toInt(), 1);
  EXPECT_EQ(clicked[0][1].toInt(), 1);
  const auto before = moved.count();
  view.setCursor(5);
  EXPECT_EQ(moved.count(), before) << "setting emits nothing";
}

TEST(ChartView, WheelZoomsAboutTheMouseAndDoubleClickResets) {
  ChartView view;
  view.setData(twoLines());
  show(view);
  const ChartRange all = view.canvas()->frame().range;
  turnWheel(view, pixel(view, 2, 3), 2);
  const ChartRange in = view.canvas()->frame().range;
  EXPECT_LT(in.xHi - in.xLo, 0.7 * (all.xHi - all.xLo));
  EXPECT_EQ(in.yLo, all.yLo);
  EXPECT_NEAR((2 - in.xLo) / (in.xHi - in.xLo), (2 - all.xLo) / (all.xHi - all.xLo), 0.01)
      << "what is below the mouse stays";
  QTest::mouseDClick(view.canvas()->viewport(), Qt::LeftButton, {}, pixel(view, 2, 3));
  EXPECT_FALSE(view.canvas()->isZoomed());
  EXPECT_EQ(view.canvas()->frame().range.xHi, all.xHi);
  // Ctrl and a drag: a rectangle.
  QWidget* port = view.canvas()->viewport();
  QTest::mousePress(port, Qt::LeftButton, Qt::ControlModifier, pixel(view, 1, 5));
  moveMouse(view, pixel(view, 3, 2), Qt::LeftButton, Qt::ControlModifier);
  QTest::mouseRelease(port, Qt::LeftButton, Qt::ControlModifier, pixel(view, 3, 2));
  const ChartRange band = view.canvas()->frame().range;
  EXPECT_NEAR(band.xLo, 1, 0.05);
  EXPECT_NEAR(band.xHi, 3, 0.05);
  EXPECT_NEAR(band.yLo, 2, 0.05);
  EXPECT_NEAR(band.yHi, 5, 0.05);
  EXPECT_TRUE(std::isnan(view.cursor()));
  turnWheel(view, pixel(view, 2, 3), -40);
  EXPECT_FALSE(view.canvas()->isZoomed()) << "no further out than all";
}

TEST(ChartView, LogScaleSaysWhatItLeavesOut) {
  ChartView view;
  ChartData d = twoLines();
  d.lines[0].y = {10, 0, -1, 100, 1000, 1};
  view.setData(d);
  show(view);
  view.setLogY(true);
  EXPECT_NEAR(view.canvas()->frame().range.yHi, 3, 0.3);
  EXPECT_EQ(view.canvas()->state().unshown, 2);
  const QPoint at = pixel(view, 3.5, 1);
  QHelpEvent help(QEvent::ToolTip, at, view.canvas()->viewport()->mapToGlobal(at));
  QApplication::sendEvent(view.canvas()->viewport(), &help);
  EXPECT_TRUE(QToolTip::text().contains(QStringLiteral("2 points are not shown")));
  QToolTip::hideText();
  const std::unique_ptr<QMenu> menu(view.makeMenu(nullptr));
  auto* log = menu->findChild<QAction*>(QStringLiteral("log_scale"));
  ASSERT_NE(log, nullptr);
  EXPECT_TRUE(log->isChecked());
  log->setChecked(false);
  EXPECT_FALSE(view.isLogY());
  EXPECT_EQ(view.canvas()->state().unshown, 0);
}

TEST(ChartView, SmoothingKeepsTheRawLineThin) {
  ChartView view;
  ChartData d;
  d.lines = {lineOf("loss", {1, 2, 1, 2, 1, 2, 1, 2})};
  view.setData(d);
  show(view);
  ASSERT_EQ(linesShown(view).size(), 1u);
  view.setSmoothing(3);
  const auto lines = linesShown(view);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_LT(lines[0]->pen().color().alpha(), 128);
  EXPECT_LT(lines[0]->pen().widthF(), lines[1]->pen().widthF());
  EXPECT_EQ(lines[1]->at(7).y(), smoothed(d.lines[0].y, 3)[7]);
  view.append(0, 8, 2);
  view.canvas()->flush();
  d.lines[0].y.push_back(2);
  EXPECT_DOUBLE_EQ(linesShown(view)[1]->at(8).y(), smoothed(d.lines[0].y, 3)[8]);
  view.setSmoothing(0);
  EXPECT_EQ(linesShown(view).size(), 1u);
}

TEST(ChartView, AppendIsCheapWhileWatched) {
  ChartView view;
  ChartData d;
  std::vector<double> y(100000);
  for (size_t i = 0; i < y.size(); ++i) y[i] = std::sin(static_cast<double>(i));
  d.lines = {lineOf("loss", y)};
  view.setData(d);
  show(view);
  ASSERT_LE(linesShown(view)[0]->count(), kMostPoints);
  QElapsedTimer watch;
  watch.start();
  for (int i = 0; i < 1000; ++i) view.append(0, 100000 + i, 5);
  view.append(7, 0, 0);
  EXPECT_LT(watch.elapsed(), 50) << "appending draws nothing at once";
  EXPECT_TRUE(QTest::qWaitFor([&] { return view.canvas()->frame().range.yHi > 5; }, 2000)) << "and soon after all";
  watch.restart();
  view.append(0, 101000, 5);
  view.canvas()->flush();
  EXPECT_LT(watch.elapsed(), 100);
  EXPECT_EQ(view.data().lines[0].x.size(), 101001u);
}

TEST(ChartView, ScatterHasEqualAxesAndTheCircle) {
  ChartView view;
  ChartData d;
  d.kind = ChartData::Kind::kScatter;
  d.unitCircle = true;
  ChartLine points;
  points.name = QStringLiteral("head 1");
  points.x = {0.5, -0.2, kNan};
  points.y = {0.1, 0.3, 0.2};
  d.lines = {points};
  view.setData(d);
  show(view, 700, 300);
  const ChartFrame& f = view.canvas()->frame();
  const QPointF zero = f.toPixel(0, 0), right = f.toPixel(1, 0), top = f.toPixel(0, 1);
  EXPECT_NEAR(right.x() - zero.x(), zero.y() - top.y(), 0.5);
  EXPECT_TRUE(f.plot.contains(right) && f.plot.contains(top));
  QSignalSpy text(&view, &View::hoverText);
  moveMouse(view, pixel(view, 0.5, 0.1));
  ASSERT_EQ(text.count(), 1);
  EXPECT_EQ(text[0][0].toString(), QStringLiteral("head 1: x = 0.5, y = 0.1"));
  // The circle is drawn: its colour is met on it, between the axes.
  const QImage image = view.grab().toImage();
  const auto drawn = [&] {
    int hits = 0;
    for (int degree = 20; degree < 70; ++degree) {
      const QPoint at = f.toPixel(std::cos(degree * M_PI / 180), std::sin(degree * M_PI / 180)).toPoint();
      hits += std::abs(image.pixelColor(at).lightness() - Theme::of(&view).muted.lightness()) < 40;
    }
    return hits;
  };
  EXPECT_GT(drawn(), 10);
}

TEST(ChartView, ThemeChangesLive) {
  const bool dark = Theme::of(qApp->palette()).dark;
  ChartView view;
  view.setData(twoLines());
  show(view);
  const QColor before = linesShown(view)[0]->pen().color();
  EXPECT_EQ(before, Theme::of(&view).series(0));
  Theme::apply(*qApp, !dark);
  QTest::qWait(20);
  EXPECT_EQ(linesShown(view)[0]->pen().color(), (dark ? Theme::light() : Theme::darkTheme()).series(0));
  EXPECT_EQ(view.grab().toImage().pixelColor(1, 1), (dark ? Theme::light() : Theme::darkTheme()).surface);
  Theme::apply(*qApp, dark);
}

TEST(ChartView, PicturesAreVectorsAndNumbersAreCsv) {
  ChartView view;
  ChartData d = twoLines();
  d.title = QStringLiteral("Loss of two runs");
  view.setData(d);
  show(view);
  const QByteArray svg = view.svg();
  EXPECT_TRUE(svg.contains("Loss of two runs"));
  EXPECT_TRUE(svg.contains("<polyline") || svg.contains("<path"));
  EXPECT_FALSE(svg.contains("<image"));
  const ChartFrame before = view.canvas()->frame();
  QImage other(300, 200, QImage::Format_RGB32);
  QPainter painter(&other);
  view.drawPicture(painter, QSizeF(300, 200));
  EXPECT_EQ(view.canvas()->frame().plot, before.plot) << "the view stays as it was";
  EXPECT_TRUE(view.csv().startsWith(QStringLiteral("line,x,y\none,0,1\none,1,2\none,2,nan\n")));
}

TEST(ChartView, EmptyStatesAndHostileData) {
  ChartView view;
  show(view);
  view.clear(QStringLiteral("Choose a head."));
  EXPECT_EQ(view.canvas()->state().emptyText, QStringLiteral("Choose a head."));
  EXPECT_FALSE(view.grab().isNull());
  ChartData d;
  d.lines = {lineOf("a", {kNan, kInf})};
  view.setData(d);
  EXPECT_TRUE(view.canvas()->state().emptyText.contains(QStringLiteral("missing")));
  view.append(0, 2, 3);
  EXPECT_TRUE(view.canvas()->state().emptyText.isEmpty());
  // Unequal lengths, equal values, extreme values, endless names, many lines.
  ChartLine odd;
  odd.name = QString(100000, QLatin1Char('n'));
  odd.x = {3, 1, 2, kInf};
  odd.y = {1e308, -1e308};
  d.lines = {odd, lineOf("flat", {5, 5, 5}), lineOf("huge", {1e-300, 1e299}), lineOf("none", {})};
  for (int i = 0; i < 80; ++i) d.lines.push_back(lineOf("many\u202e", {1, 2}));
  d.xTicks = QStringList{QString(100000, QLatin1Char('t')), QString(), QStringLiteral("\u202e")};
  for (bool log : {false, true}) {
    view.setData(d);
    view.setLogY(log);
    view.grab();
    moveMouse(view, view.canvas()->frame().plot.center().toPoint());
    turnWheel(view, view.canvas()->frame().plot.center().toPoint(), 200);
    view.grab();
  }
  EXPECT_FALSE(view.isLineVisible(83)) << "more lines than can be told apart wait in the menu";
  view.resize(1, 1);
  EXPECT_FALSE(view.image().isNull());
  const std::unique_ptr<QMenu> menu(view.makeMenu(nullptr));
  EXPECT_NE(menu->findChild<QAction*>(QStringLiteral("reset_zoom")), nullptr);
}

TEST(ChartView, SeriesArtifactBecomesAChart) {
  Series s{"loss", "Loss", "step", "loss (nats)", {{"train", {0, 1}, {2, 1}}}};
  const ChartData d = ChartView::fromSeries(s);
  EXPECT_EQ(d.title, QStringLiteral("Loss"));
  EXPECT_EQ(d.yLabel, QStringLiteral("loss (nats)"));
  ASSERT_EQ(d.lines.size(), 1u);
  EXPECT_EQ(d.lines[0].name, QStringLiteral("train"));
  EXPECT_EQ(d.lines[0].y, (std::vector<double>{2, 1}));
}

}  // namespace
}  // namespace microtome::desktop
