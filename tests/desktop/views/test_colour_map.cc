// Colour maps: viridis against published values, white at zero, scales and ticks, hostile numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/colour_map.h"

namespace microtome::desktop {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

int distance(QRgb a, QRgb b) {
  return std::max({std::abs(qRed(a) - qRed(b)), std::abs(qGreen(a) - qGreen(b)), std::abs(qBlue(a) - qBlue(b))});
}

double luminance(QRgb c) { return 0.2126 * qRed(c) + 0.7152 * qGreen(c) + 0.0722 * qBlue(c); }

// Values as matplotlib and R's viridis package print them.
TEST(ColourMap, ViridisAtNineEvenPoints) {
  const QRgb known[] = {0x440154, 0x472d7b, 0x3b528b, 0x2c728e, 0x21908c, 0x27ad81, 0x5dc863, 0xaadc32, 0xfde725};
  for (int i = 0; i < 9; ++i)
    EXPECT_LE(distance(colourOf(Look::kSequential, static_cast<int>(std::lround(i * 255 / 8.0)), false), known[i]), 3)
        << i;
}

TEST(ColourMap, ViridisBetweenTheControlPoints) {
  const QRgb known[] = {0x440154, 0x482878, 0x3e4a89, 0x31688e, 0x26828e,
                        0x1f9e89, 0x35b779, 0x6dcd59, 0xb4de2c, 0xfde725};
  for (int i = 0; i < 10; ++i)
    EXPECT_LE(distance(colourOf(Look::kSequential, static_cast<int>(std::lround(i * 255 / 9.0)), true), known[i]), 3)
        << i;
}

TEST(ColourMap, ViridisGetsLighterAllTheWay) {
  const auto& table = colourTable(Look::kSequential, false);
  ASSERT_EQ(table.size(), static_cast<size_t>(kColourLevels));
  for (int i = 1; i < kColourLevels; ++i) EXPECT_GE(luminance(table[i]), luminance(table[i - 1]) - 0.5) << i;
}

TEST(ColourMap, DivergingIsWhiteAtZeroRedBelowBlueAbove) {
  const int zero = colourLevel(0, -3, 3);
  EXPECT_EQ(colourOf(Look::kDiverging, zero, false) & 0xffffff, 0xffffffu);
  // In the dark theme too: zero is the lightest.
  EXPECT_GT(qGreen(colourOf(Look::kDiverging, zero, true)), 220);
  for (bool dark : {false, true}) {
    for (double v : {0.3, 1.0, 2.9}) {
      const QRgb below = colourOf(Look::kDiverging, colourLevel(-v, -3, 3), dark);
      const QRgb above = colourOf(Look::kDiverging, colourLevel(v, -3, 3), dark);
      EXPECT_GT(qRed(below), qBlue(below)) << v;
      EXPECT_GT(qBlue(above), qRed(above)) << v;
      EXPECT_LT(luminance(below), luminance(colourOf(Look::kDiverging, zero, dark)));
    }
  }
}

TEST(ColourMap, PatternGoesFromSurfaceToAccent) {
  EXPECT_EQ(colourOf(Look::kPattern, 0, false) & 0xffffff, Theme::light().surface.rgb() & 0xffffff);
  EXPECT_EQ(colourOf(Look::kPattern, 0, true) & 0xffffff, Theme::darkTheme().surface.rgb() & 0xffffff);
  EXPECT_EQ(colourOf(Look::kPattern, 255, true) & 0xffffff, Theme::darkTheme().accent.rgb() & 0xffffff);
}

TEST(ColourMap, LevelsClampAndNothingCrashes) {
  EXPECT_EQ(colourLevel(-1, 0, 1), 0);
  EXPECT_EQ(colourLevel(2, 0, 1), 255);
  EXPECT_EQ(colourLevel(kInf, 0, 1), 255);
  EXPECT_EQ(colourLevel(-kInf, 0, 1), 0);
  EXPECT_EQ(colourLevel(0.5, 0, 1), 128);
  EXPECT_EQ(colourOf(Look::kSequential, 999, false), colourOf(Look::kSequential, 255, false));
  EXPECT_EQ(colourOf(Look::kSequential, -5, false), colourOf(Look::kSequential, 0, false));
}

TEST(ColourMap, InkReadsOnEveryColour) {
  EXPECT_TRUE(isLight(0xffffff));
  EXPECT_FALSE(isLight(0x440154));
  EXPECT_TRUE(isLight(0xfde725));
  EXPECT_FALSE(isLight(0x053061));
}

TEST(ColourMap, ScalesByLook) {
  const float values[] = {0.2f, -0.5f, 2, kNaN, kInf, -kInf};
  EXPECT_EQ(scaleOf(Look::kSequential, values, 6), std::pair(-0.5, 2.0));
  EXPECT_EQ(scaleOf(Look::kDiverging, values, 6), std::pair(-2.0, 2.0));
  EXPECT_EQ(scaleOf(Look::kPattern, values, 6), std::pair(0.0, 2.0));
  const float positive[] = {3, 4};
  EXPECT_EQ(scaleOf(Look::kSequential, positive, 2), std::pair(0.0, 4.0));
}

TEST(ColourMap, ScalesAreNeverEmpty) {
  const float nothing[] = {kNaN, kNaN}, zeros[] = {0, 0}, one[] = {-3};
  for (Look look : {Look::kSequential, Look::kDiverging, Look::kPattern}) {
    for (const auto& [lo, hi] :
         {scaleOf(look, nothing, 2), scaleOf(look, zeros, 2), scaleOf(look, one, 1), scaleOf(look, nullptr, 0)})
      EXPECT_LT(lo, hi);
  }
}

TEST(ColourMap, ExtentRemembersMissing) {
  const float values[] = {1, kNaN};
  Extent e;
  e.add(values, 1);
  EXPECT_FALSE(e.missing);
  e.add(values + 1, 1);
  EXPECT_TRUE(e.missing);
  EXPECT_EQ(e.hi, 1);
}

TEST(ColourMap, TicksAreNiceAndFew) {
  EXPECT_EQ(niceTicks(0, 1, 6), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  const auto ticks = niceTicks(-0.37, 0.37, 5);
  ASSERT_GE(ticks.size(), 3u);
  EXPECT_LE(ticks.size(), 5u);
  for (double t : ticks) EXPECT_TRUE(t >= -0.37 && t <= 0.37);
  EXPECT_NE(std::find(ticks.begin(), ticks.end(), 0.0), ticks.end());
  for (double hi : {1e-9, 3.7, 99.0, 12345.0, 8e30}) {
    EXPECT_LE(niceTicks(0, hi, 5).size(), 5u) << hi;
    EXPECT_GE(niceTicks(0, hi, 5).size(), 2u) << hi;
  }
}

TEST(ColourMap, TicksOfNonsenseAreNone) {
  EXPECT_TRUE(niceTicks(1, 1).empty());
  EXPECT_TRUE(niceTicks(2, 1).empty());
  EXPECT_TRUE(niceTicks(0, kInf).empty());
  EXPECT_TRUE(niceTicks(kNaN, 1).empty());
  EXPECT_TRUE(niceTicks(0, 1, 0).empty());
  EXPECT_LE(niceTicks(1e18, 1e18 + 512, 5).size(), 5u);
}

TEST(ColourMap, LooksByName) {
  EXPECT_EQ(lookOf("diverging"), Look::kDiverging);
  EXPECT_EQ(lookOf("pattern"), Look::kPattern);
  EXPECT_EQ(lookOf("sequential"), Look::kSequential);
  EXPECT_EQ(lookOf("?"), Look::kSequential);
}

}  // namespace
}  // namespace microtome::desktop
