#include "app/desktop/views/token_strip.h"

#include <gtest/gtest.h>

#include <QApplication>
#include <QElapsedTimer>
#include <QHelpEvent>
#include <QImage>
#include <QScrollArea>
#include <QScrollBar>
#include <QSignalSpy>
#include <QToolTip>
#include <QtTest/QTest>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"
#include "app/desktop/views/token_layout.h"

namespace microtome::desktop {
namespace {

std::vector<TokenChip> chipsOf(const QStringList& words) {
  std::vector<TokenChip> out;
  for (const QString& w : words) out.push_back({w, static_cast<qint64>(out.size()) + 100, {}, false, false});
  return out;
}

QStringList words(int n) {
  QStringList out;
  for (int i = 0; i < n; ++i) out += QStringLiteral(" word%1").arg(i);
  return out;
}

bool hasColour(const QImage& image, const QColor& colour) {
  for (int y = 0; y < image.height(); ++y)
    for (int x = 0; x < image.width(); ++x)
      if (image.pixelColor(x, y) == colour) return true;
  return false;
}

QImage seen(TokenStrip& strip) { return strip.grab().toImage().convertToFormat(QImage::Format_RGB32); }

TEST(TokenStrip, WrapsByWidth) {
  TokenStrip strip;
  strip.setTokens(chipsOf(words(40)));
  const int wide = strip.heightForWidth(2000), narrow = strip.heightForWidth(200);
  EXPECT_GT(narrow, 4 * wide);
  EXPECT_TRUE(strip.sizePolicy().hasHeightForWidth());
  // Notes take a line above the chips.
  auto chips = chipsOf(words(3));
  strip.setTokens(chips);
  const int plain = strip.heightForWidth(800);
  chips[1].note = QStringLiteral("subject");
  strip.setTokens(chips);
  EXPECT_GT(strip.heightForWidth(800), plain);
}

TEST(TokenStrip, ChipsNeverOverlapAndStayInside) {
  auto chips = chipsOf(words(60));
  for (size_t i = 0; i < chips.size(); i += 2) chips[i].note = QStringLiteral("a rather long note");
  chips[7].text = QString(200000, QLatin1Char('x'));
  chips[9].text = QString();
  chips[11].text = QStringLiteral("\u202e\n\t");
  const auto faces = tokenFaces(chips, monoFont(), QApplication::font());
  for (int width : {0, 1, 60, 333, 900}) {
    const TokenLayout l = layOutTokens(faces, {20, 12, 40}, width);
    size_t counted = 0;
    for (const TokenLine& line : l.lines) {
      ASSERT_EQ(line.first, counted);
      counted += line.count;
      for (size_t i = line.first; i < line.first + line.count; ++i) {
        const QRect r = l.rect(faces, line, i);
        EXPECT_LE(r.right(), std::max(width, 60)) << width;
        const int before = i > line.first ? l.rect(faces, line, i - 1).right() + kChipGap : 0;
        EXPECT_GE(r.left(), before);
        EXPECT_EQ(l.at(faces, r.center()), static_cast<int64_t>(i));
      }
    }
    EXPECT_EQ(counted, chips.size());
  }
}

TEST(TokenStrip, ClickSelectsAndTells) {
  TokenStrip strip;
  strip.setTokens(chipsOf({QStringLiteral("When"), QStringLiteral(" Mary"), QStringLiteral(" and")}));
  strip.resize(600, 60);
  QSignalSpy clicked(&strip, &TokenStrip::tokenClicked);
  const auto faces = tokenFaces(strip.tokens(), monoFont(), strip.font());
  const int x = kChipMargin + faces[0].width + kChipGap + faces[1].width / 2;
  QTest::mouseClick(&strip, Qt::LeftButton, {}, QPoint(x, kChipMargin + 6));
  ASSERT_EQ(clicked.count(), 1);
  EXPECT_EQ(clicked[0][0].toLongLong(), 1);
  EXPECT_EQ(strip.selected(), 1);
  QTest::mouseClick(&strip, Qt::LeftButton, {}, QPoint(590, 55));
  EXPECT_EQ(clicked.count(), 1);
  strip.setSelected(2);
  EXPECT_EQ(clicked.count(), 1) << "setting emits nothing";
  strip.setSelected(99);
  EXPECT_EQ(strip.selected(), -1);
}

TEST(TokenStrip, ArrowKeysMoveTheSelection) {
  TokenStrip strip;
  strip.setTokens(chipsOf(words(50)));
  strip.resize(300, strip.heightForWidth(300));
  QSignalSpy clicked(&strip, &TokenStrip::tokenClicked);
  QTest::keyClick(&strip, Qt::Key_Right);
  EXPECT_EQ(strip.selected(), 0);
  QTest::keyClick(&strip, Qt::Key_Right);
  EXPECT_EQ(strip.selected(), 1);
  QTest::keyClick(&strip, Qt::Key_Left);
  QTest::keyClick(&strip, Qt::Key_Left);
  EXPECT_EQ(strip.selected(), 0);
  QTest::keyClick(&strip, Qt::Key_End);
  EXPECT_EQ(strip.selected(), 49);
  QTest::keyClick(&strip, Qt::Key_Up);
  EXPECT_LT(strip.selected(), 48);
  QTest::keyClick(&strip, Qt::Key_Home);
  EXPECT_EQ(strip.selected(), 0);
  EXPECT_EQ(clicked.count(), 6);
}

TEST(TokenStrip, KeyboardKeepsTheSelectionInSight) {
  QScrollArea area;
  auto* strip = new TokenStrip;
  strip->setTokens(chipsOf(words(600)));
  area.setWidget(strip);
  area.setWidgetResizable(true);
  area.resize(300, 200);
  area.show();
  QTest::qWait(20);
  EXPECT_GE(strip->height(), strip->heightForWidth(strip->width()));
  QTest::keyClick(strip, Qt::Key_End);
  EXPECT_GT(area.verticalScrollBar()->value(), area.verticalScrollBar()->maximum() - 60);
}

TEST(TokenStrip, ShadesByValueAndMarksWhatDiffers) {
  TokenStrip strip;
  const Theme& theme = Theme::of(&strip);
  auto chips = chipsOf(words(3));
  strip.setTokens(chips);
  strip.resize(500, 60);
  const QColor top(colourOf(Look::kSequential, kColourLevels - 1, theme.dark));
  EXPECT_FALSE(hasColour(seen(strip), top));
  strip.setValues({0, 1, std::nan("")}, Look::kSequential, 0, 1);
  EXPECT_TRUE(hasColour(seen(strip), top));
  EXPECT_TRUE(hasColour(seen(strip), theme.raised)) << "no value: no shading";
  strip.setValues({}, Look::kSequential, 0, 1);
  EXPECT_FALSE(hasColour(seen(strip), top));

  EXPECT_FALSE(hasColour(seen(strip), theme.warning));
  chips[1].differs = true;
  strip.setTokens(chips);
  EXPECT_TRUE(hasColour(seen(strip), theme.warning));
  EXPECT_FALSE(hasColour(seen(strip), theme.highlight));
  strip.setSelected(0);
  EXPECT_TRUE(hasColour(seen(strip), theme.highlight));
  EXPECT_FALSE(hasColour(seen(strip), theme.accent));
  strip.setCursor(2);
  EXPECT_TRUE(hasColour(seen(strip), theme.accent));
}

TEST(TokenStrip, TooltipSaysPositionIdTextAndValue) {
  TokenStrip strip;
  strip.setTokens(chipsOf({QStringLiteral(" <b>\n")}));
  strip.setValues({0.25}, Look::kPattern, 0, 1, QStringLiteral("attention from ' gave'"));
  strip.resize(400, 60);
  strip.show();
  QTest::qWait(10);
  QHelpEvent help(QEvent::ToolTip, QPoint(12, 12), strip.mapToGlobal(QPoint(12, 12)));
  QApplication::sendEvent(&strip, &help);
  const QString text = QToolTip::text();
  for (const char* part : {"position 0", "id 100", "&lt;b&gt;\\n", "attention from", "0.25"})
    EXPECT_TRUE(text.contains(QString::fromUtf8(part))) << part << " in " << text.toStdString();
  QToolTip::hideText();
}

TEST(TokenStrip, HoverIsTold) {
  TokenStrip strip;
  strip.setTokens(chipsOf(words(2)));
  strip.resize(400, 60);
  QSignalSpy hovered(&strip, &TokenStrip::tokenHovered), text(&strip, &View::hoverText);
  QMouseEvent move(QEvent::MouseMove, QPointF(12, 12), strip.mapToGlobal(QPointF(12, 12)), Qt::NoButton, {}, {});
  QApplication::sendEvent(&strip, &move);
  QEvent leave(QEvent::Leave);
  QApplication::sendEvent(&strip, &leave);
  ASSERT_EQ(hovered.count(), 2);
  EXPECT_EQ(hovered[0][0].toLongLong(), 0);
  EXPECT_EQ(hovered[1][0].toLongLong(), -1);
  EXPECT_TRUE(text[0][0].toString().contains(QStringLiteral("·word0")));
  EXPECT_TRUE(text[1][0].toString().isEmpty());
}

TEST(TokenStrip, CsvIsQuotedAndComplete) {
  TokenStrip strip;
  strip.setTokens(chipsOf({QStringLiteral("a,\"b"), QStringLiteral(" c")}));
  strip.setValues({0.5, std::nan("")}, Look::kPattern, 0, 1);
  EXPECT_EQ(strip.csv(), QStringLiteral("position,id,token,value\n0,100,\"a,\"\"b\",0.5\n1,101,\" c\",\n"));
}

TEST(TokenStrip, ThousandsOfTokensAreQuick) {
  std::vector<TokenChip> chips = chipsOf(words(8192));
  for (size_t i = 0; i < chips.size(); i += 7) chips[i].text = QStringLiteral(" é日%1").arg(i % 400);
  TokenStrip strip;
  strip.grab();  // fonts are loaded once
  QElapsedTimer watch;
  watch.start();
  strip.setTokens(chips);
  const int height = strip.heightForWidth(800);
  EXPECT_LT(watch.elapsed(), 50);
  strip.resize(800, height);
  // A repaint of a part costs as much as the part.
  QImage part(800, 200, QImage::Format_RGB32);
  strip.render(&part, QPoint(), QRegion(0, height / 2, 800, 200));
  watch.restart();
  strip.render(&part, QPoint(), QRegion(0, height / 2, 800, 200));
  EXPECT_LT(watch.elapsed(), 50);
  EXPECT_TRUE(hasColour(part, Theme::of(&strip).raised));
}

TEST(TokenStrip, HostileValuesAndPictures) {
  TokenStrip strip;
  EXPECT_FALSE(strip.grab().isNull());
  constexpr double kInf = std::numeric_limits<double>::infinity();
  auto chips = chipsOf({QString(), QStringLiteral("\u202eabc"), QString(100000, QLatin1Char('\n'))});
  chips[0].note = QString(100000, QLatin1Char('n'));
  strip.setTokens(chips);
  strip.setCaption(QString(100000, QLatin1Char('c')));
  strip.setValues({kInf, -kInf, std::nan(""), 1, 2, 3}, Look::kDiverging, 1, 1);
  strip.resize(1, 1);
  strip.grab();
  EXPECT_FALSE(strip.image().isNull());
  EXPECT_TRUE(strip.svg().contains("<svg"));
}

TEST(PlainLine, ShowsWhatWouldHide) {
  EXPECT_EQ(plainLine(QStringLiteral("a b\nc")), QStringLiteral("a b⏎c"));
  EXPECT_FALSE(plainLine(QStringLiteral("a\u202eb")).contains(QChar(0x202e)));
  EXPECT_EQ(plainLine(QStringLiteral("abcdef"), 3), QStringLiteral("abc…"));
  EXPECT_EQ(quotedToken(QStringLiteral(" a\n\"\\\u202e")), QStringLiteral("\" a\\n\\\"\\\\\\u202e\""));
}

}  // namespace
}  // namespace microtome::desktop
