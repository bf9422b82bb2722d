// TokenMapView: cells by mouse and keys, headers that stay, colours, hostile sizes and texts, saving.
#include "app/desktop/views/token_map.h"

#include <gtest/gtest.h>

#include <QApplication>
#include <QElapsedTimer>
#include <QHelpEvent>
#include <QScrollBar>
#include <QSignalSpy>
#include <QToolTip>
#include <QtTest/QTest>
#include <QDir>
#include <cmath>
#include <functional>
#include <limits>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TokenQuantity quantity(const char* name, int64_t rows, int64_t cols,
                       const std::function<float(int64_t, int64_t)>& value) {
  TokenQuantity q;
  q.name = QString::fromLatin1(name);
  q.help = QStringLiteral("what %1 means").arg(q.name);
  auto values = std::make_shared<std::vector<float>>();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) values->push_back(value(r, c));
  q.values = std::move(values);
  return q;
}

// Word (r + c) % 3 in each cell; probability (r + 1) / rows.
TokenMapData sample(int64_t rows, int64_t cols) {
  TokenMapData d;
  d.rows = rows;
  d.cols = cols;
  d.rowAxis.name = QStringLiteral("lens");
  d.colAxis.name = QStringLiteral("position");
  d.colAxis.tokens = true;
  for (int64_t r = 0; r < rows; ++r) {
    d.rowAxis.labels << (r + 1 < rows ? QStringLiteral("before L%1").arg(r) : QStringLiteral("output"));
    d.rowAxis.kinds.push_back(r + 1 == rows ? LayerKind::kNone : r % 2 ? LayerKind::kRecurrent : LayerKind::kSoftmax);
  }
  for (int64_t c = 0; c < cols; ++c) {
    d.colAxis.labels << QStringLiteral(" tok%1").arg(c);
    d.colNotes << QStringLiteral("next is number %1").arg(c + 1);
  }
  d.words = {QStringLiteral(" the"), QStringLiteral(" Mary"), QStringLiteral("\n")};
  auto cells = std::make_shared<std::vector<int32_t>>();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) cells->push_back(static_cast<int32_t>((r + c) % 3));
  d.cells = cells;
  d.wordName = QStringLiteral("top token");
  d.quantities.push_back(quantity("probability", rows, cols, [&](int64_t r, int64_t) {
    return static_cast<float>(r + 1) / static_cast<float>(rows);
  }));
  d.quantities.back().hi = 1;
  d.quantities.push_back(quantity(
      "rank", rows, cols, [](int64_t r, int64_t c) { return r == 0 && c == 0 ? kNaN : static_cast<float>(c * 10); }));
  d.quantities.back().unit = QStringLiteral("tokens");
  d.quantities.back().logarithmic = true;
  return d;
}

class TokenMap : public ::testing::Test {
 protected:
  void show(TokenMapData data, const QSize& size = QSize(640, 240)) {
    view_.resize(size);
    view_.show();
    view_.setData(std::move(data));
    QTest::qWait(10);
  }
  QPoint middle(int64_t r, int64_t c) const { return view_.cellRect(r, c).center().toPoint(); }
  QColor colourIn(int64_t r, int64_t c) {
    // Beside the text: the cell's lower right.
    const QRectF cell = view_.cellRect(r, c);
    return view_.grab().toImage().pixelColor(static_cast<int>(cell.right()) - 4, static_cast<int>(cell.bottom()) - 4);
  }
  QScrollBar* bar(Qt::Orientation o) const {
    for (QScrollBar* b : view_.findChildren<QScrollBar*>())
      if (b->orientation() == o) return b;
    return nullptr;
  }
  TokenMapView view_;
};

TEST_F(TokenMap, AClickSelectsAndTells) {
  show(sample(5, 8));
  QSignalSpy clicked(&view_, &TokenMapView::cellClicked);
  QTest::mouseClick(&view_, Qt::LeftButton, {}, middle(3, 6));
  ASSERT_EQ(clicked.count(), 1);
  EXPECT_EQ(clicked[0][0].toLongLong(), 3);
  EXPECT_EQ(clicked[0][1].toLongLong(), 6);
  EXPECT_EQ(view_.selectedCell(), (std::pair<int64_t, int64_t>(3, 6)));
  view_.setSelectedCell(1, 1);
  EXPECT_EQ(clicked.count(), 1) << "setting emits nothing";
  view_.setSelectedCell(99, 0);
  EXPECT_EQ(view_.selectedCell().first, -1);
  QTest::mouseClick(&view_, Qt::LeftButton, {}, QPoint(4, 4));
  EXPECT_EQ(clicked.count(), 1) << "headers are no cells";
}

TEST_F(TokenMap, KeysMoveTheSelectionAndKeepItInSight) {
  show(sample(40, 60), QSize(420, 200));
  QSignalSpy clicked(&view_, &TokenMapView::cellClicked), activated(&view_, &TokenMapView::cellActivated);
  QTest::keyClick(&view_, Qt::Key_Right);
  EXPECT_EQ(view_.selectedCell(), (std::pair<int64_t, int64_t>(39, 0))) << "the first step is the last answer";
  EXPECT_FALSE(view_.cellRect(39, 0).isEmpty());
  QTest::keyClick(&view_, Qt::Key_End);
  EXPECT_EQ(view_.selectedCell().second, 59);
  EXPECT_NEAR(view_.cellRect(39, 59).width(), view_.cellRect(39, 58).width(), 1) << "whole in sight";
  QTest::keyClick(&view_, Qt::Key_PageUp);
  EXPECT_LT(view_.selectedCell().second, 57);
  for (int i = 0; i < 50; ++i) QTest::keyClick(&view_, Qt::Key_Up);
  EXPECT_EQ(view_.selectedCell().first, 0);
  QTest::keyClick(&view_, Qt::Key_Home);
  EXPECT_EQ(view_.selectedCell(), (std::pair<int64_t, int64_t>(0, 0)));
  EXPECT_FALSE(view_.cellRect(0, 0).isEmpty());
  EXPECT_TRUE(view_.cellRect(39, 59).isEmpty()) << "out of sight";
  const int told = clicked.count();
  QTest::keyClick(&view_, Qt::Key_Left);
  EXPECT_EQ(clicked.count(), told) << "at the edge nothing changes";
  QTest::keyClick(&view_, Qt::Key_Return);
  EXPECT_EQ(activated.count(), 1);
}

TEST_F(TokenMap, ColumnsStayReadableAndScroll) {
  show(sample(5, 8), QSize(900, 240));
  EXPECT_FALSE(bar(Qt::Horizontal)->isVisible());
  EXPECT_FALSE(bar(Qt::Vertical)->isVisible());
  show(sample(5, 40), QSize(500, 240));
  EXPECT_TRUE(bar(Qt::Horizontal)->isVisible());
  EXPECT_GE(view_.cellRect(0, 1).width(), 47);
  EXPECT_TRUE(view_.cellRect(0, 39).isEmpty());
  bar(Qt::Horizontal)->setValue(bar(Qt::Horizontal)->maximum());
  EXPECT_GE(view_.cellRect(0, 39).width(), 47) << "the last column can be seen whole";
  QWheelEvent wheel(QPointF(200, 100), view_.mapToGlobal(QPointF(200, 100)), QPoint(), QPoint(0, 120), Qt::NoButton, {},
                    Qt::NoScrollPhase, false);
  const int before = bar(Qt::Horizontal)->value();
  QApplication::sendEvent(&view_, &wheel);
  EXPECT_LT(bar(Qt::Horizontal)->value(), before);
}

TEST_F(TokenMap, CellsAreColouredByTheChosenNumber) {
  show(sample(4, 6));
  const Theme& theme = Theme::of(&view_);
  EXPECT_EQ(colourIn(3, 0), QColor(colourOf(Look::kSequential, kColourLevels - 1, theme.dark)));
  EXPECT_EQ(colourIn(1, 2), QColor(colourOf(Look::kSequential, colourLevel(0.5, 0, 1), theme.dark)));
  view_.setColour(1);
  const double most = std::log10(51);
  EXPECT_NEAR(view_.scale().second, most, 1e-6) << "a rank is coloured by its logarithm";
  EXPECT_EQ(colourIn(2, 5), QColor(colourOf(Look::kSequential, kColourLevels - 1, theme.dark)));
  EXPECT_EQ(colourIn(2, 1), QColor(colourOf(Look::kSequential, colourLevel(std::log10(11), 0, most), theme.dark)));
  view_.setScale(0, 2 * most);
  EXPECT_EQ(colourIn(2, 5), QColor(colourOf(Look::kSequential, colourLevel(most, 0, 2 * most), theme.dark)));
  view_.setScale(0, 0);
  EXPECT_EQ(view_.scale(), view_.ownScale());
}

TEST_F(TokenMap, HoverAndTooltipTellEveryNumberWithItsDefinition) {
  show(sample(4, 6));
  QSignalSpy text(&view_, &View::hoverText), hovered(&view_, &TokenMapView::cellHovered);
  const QPoint at = middle(2, 3);
  QMouseEvent move(QEvent::MouseMove, QPointF(at), view_.mapToGlobal(QPointF(at)), Qt::NoButton, {}, {});
  QApplication::sendEvent(&view_, &move);
  ASSERT_EQ(hovered.count(), 1);
  const QString said = text[0][0].toString();
  for (const char* part : {"before L2", "position 3", "·tok3", "⏎", "probability 0.75", "rank 30 tokens"})
    EXPECT_TRUE(said.contains(QString::fromUtf8(part))) << part << " in " << said.toStdString();
  QHelpEvent help(QEvent::ToolTip, at, view_.mapToGlobal(at));
  QApplication::sendEvent(&view_, &help);
  for (const char* part : {"what probability means", "what rank means", "next is number 4", "0.75"})
    EXPECT_TRUE(QToolTip::text().contains(QString::fromUtf8(part))) << part << " in " << QToolTip::text().toStdString();
  QToolTip::hideText();
  QEvent leave(QEvent::Leave);
  QApplication::sendEvent(&view_, &leave);
  EXPECT_EQ(hovered.last()[0].toLongLong(), -1);
  EXPECT_TRUE(text.last()[0].toString().isEmpty());
}

TEST_F(TokenMap, CsvHoldsEveryNumber) {
  show(sample(2, 2));
  EXPECT_EQ(view_.csv(), QStringLiteral("lens,position,token,top token,probability,rank (tokens)\r\n"
                                        "before L0,0, tok0, the,0.5,\r\nbefore L0,1, tok1, Mary,0.5,10\r\n"
                                        "output,0, tok0, Mary,1,0\r\noutput,1, tok1,\"\n\",1,10\r\n"));
}

TEST_F(TokenMap, SavedPicturesAreWholeAndVector) {
  show(sample(30, 20), QSize(300, 150));
  EXPECT_GT(view_.pictureSize().height(), 30 * 16) << "rows that are scrolled away are saved";
  EXPECT_GT(view_.pictureSize().width(), 20 * 47);
  const QByteArray svg = view_.svg();
  EXPECT_TRUE(svg.contains("tok19"));
  EXPECT_TRUE(svg.contains("output"));
  EXPECT_FALSE(view_.image().isNull());
}

TEST_F(TokenMap, TheSameShapeKeepsSelectionAndPlace) {
  show(sample(5, 40), QSize(500, 240));
  view_.setSelectedCell(2, 35);
  const int at = bar(Qt::Horizontal)->value();
  EXPECT_GT(at, 0);
  view_.setData(sample(5, 40));
  EXPECT_EQ(view_.selectedCell(), (std::pair<int64_t, int64_t>(2, 35)));
  EXPECT_EQ(bar(Qt::Horizontal)->value(), at);
  view_.setData(sample(5, 39));
  EXPECT_EQ(view_.selectedCell().first, -1);
}

TEST_F(TokenMap, HostileDataAndSizes) {
  show(sample(3, 3));
  TokenMapData wrong = sample(3, 3);
  wrong.cols = 4;
  view_.setData(wrong);
  EXPECT_EQ(view_.data().rows, 0) << "sizes that do not fit are not shown";
  TokenMapData huge = sample(2, 2);
  huge.rows = int64_t{1} << 40;
  huge.cols = int64_t{1} << 40;
  view_.setData(huge);
  EXPECT_EQ(view_.data().rows, 0);
  TokenMapData odd = sample(3, 3);
  odd.words = {QStringLiteral("\u202eabc"), QString(200000, QLatin1Char('x')), QString()};
  odd.cells = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{0, 1, 2, -1, 7, -9, 0, 1, 2});
  odd.rowAxis.labels[0] = QString(100000, QLatin1Char('r'));
  odd.colAxis.labels[1] = QStringLiteral("<b>\n");
  odd.quantities[0] = quantity("v", 3, 3, [](int64_t r, int64_t c) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    return r == 0 ? kInf : r == 1 ? -kInf : c == 0 ? kNaN : 1e30f;
  });
  odd.quantities[1] = quantity("w", 3, 3, [](int64_t, int64_t) { return -5.0f; });
  odd.quantities[1].logarithmic = true;
  for (const QSize& size : {QSize(1, 1), QSize(40, 400), QSize(400, 30), QSize(640, 240)}) {
    view_.resize(size);
    view_.setData(odd);
    for (int colour : {0, 1, -1, 50}) {
      view_.setColour(colour);
      EXPECT_FALSE(view_.grab().isNull());
    }
    for (int key : {Qt::Key_Right, Qt::Key_Down, Qt::Key_PageDown, Qt::Key_End})
      QTest::keyClick(&view_, static_cast<Qt::Key>(key));
    view_.image();
  }
  view_.clear(QStringLiteral("Choose a prompt."));
  EXPECT_TRUE(view_.csv().isEmpty());
  EXPECT_TRUE(view_.svg().contains("Choose a prompt."));
  QTest::keyClick(&view_, Qt::Key_Right);
  EXPECT_TRUE(view_.cellRect(0, 0).isEmpty());
}

TEST_F(TokenMap, LongPromptsAreQuick) {
  QElapsedTimer watch;
  TokenMapData data = sample(33, 4096);
  view_.resize(760, 300);
  view_.grab();  // fonts are loaded once
  watch.start();
  view_.setData(std::move(data));
  const qint64 set = watch.restart();
  view_.grab();
  const qint64 paint = watch.elapsed();
  RecordProperty("set_ms", static_cast<int>(set));
  RecordProperty("paint_ms", static_cast<int>(paint));
  EXPECT_LT(set, 50);
  EXPECT_LT(paint, 50);
  if (const QString to = qEnvironmentVariable("MICROTOME_TEST_PICTURES"); !to.isEmpty())
    view_.grab().save(QDir(to).filePath(QStringLiteral("token_map_long.png")));
}

}  // namespace
}  // namespace microtome::desktop
