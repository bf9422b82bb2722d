// The cells of a heat map as pixels: pooling by look, odd sizes, causal maps, no value lost.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "app/desktop/views/cell_image.h"
#include "heat_map_samples.h"

namespace microtome::desktop {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

CellGrid gridOf(const HeatMapData& d) { return {d.values, d.rows, d.cols, d.look, d.causal}; }

TEST(CellImage, PoolsByLook) {
  HeatMapData d = sampleMap(256, 256, [](int64_t r, int64_t c) {
    return r == 0 && c < 2 ? (c == 0 ? -4.0f : 3.0f) : r == 2 ? kNaN : 1.0f;
  });
  const std::atomic<bool> go{false};
  d.look = Look::kDiverging;
  auto p = buildPyramid(gridOf(d), go);
  ASSERT_EQ(p->levels.size(), 1u);
  EXPECT_EQ(p->levels[0].values[0], -4);
  EXPECT_EQ(p->levels[0].values[128], 1) << "missing cells are left out of their block";
  EXPECT_TRUE(p->extent.missing);
  d.look = Look::kPattern;
  EXPECT_EQ(buildPyramid(gridOf(d), go)->levels[0].values[0], 3);
  d.look = Look::kSequential;
  EXPECT_EQ(buildPyramid(gridOf(d), go)->levels[0].values[0], 0.25f);
  const std::atomic<bool> stopped{true};
  EXPECT_EQ(buildPyramid(gridOf(d), stopped), nullptr);
}

TEST(CellImage, OddSizesAndCausalBlocks) {
  HeatMapData d = sampleMap(259, 131, [](int64_t r, int64_t c) { return c > r ? 99.0f : static_cast<float>(r); });
  d.causal = true;
  d.look = Look::kPattern;
  const std::atomic<bool> go{false};
  const auto p = buildPyramid(gridOf(d), go);
  EXPECT_EQ(p->extent.hi, 258);
  EXPECT_EQ(p->levels[0].rows, 130);
  EXPECT_EQ(p->levels[0].cols, 66);
  EXPECT_EQ(p->levels[0].values[0], 1);
  EXPECT_TRUE(std::isnan(p->levels[0].values[65]));
  EXPECT_EQ(p->levels[0].values.back(), 258);
}

TEST(CellImage, NoLoneValueIsLostWhenCellsAreSmallerThanPixels) {
  for (int64_t n : {400, 2048}) {
    HeatMapData d = sampleMap(n, n, [](int64_t r, int64_t c) { return r == 123 && c == 77 ? 1.0f : 0.0f; });
    d.look = Look::kPattern;
    const std::atomic<bool> go{false};
    const auto pyramid = buildPyramid(gridOf(d), go);
    const QRgb top = colourOf(Look::kPattern, 255, false);
    for (const QSize size : {QSize(100, 100), QSize(37, 211), QSize(300, 60)}) {
      const QImage image = cellImage(gridOf(d), pyramid.get(), {QRectF(0, 0, n, n), size, 0, 1, false, 1});
      int found = 0;
      for (int y = 0; y < size.height(); ++y)
        for (int x = 0; x < size.width(); ++x) found += (image.pixel(x, y) & 0xffffff) == (top & 0xffffff);
      EXPECT_GE(found, 1) << n << " at " << size.width() << "x" << size.height();
      EXPECT_LE(found, 16);
    }
  }
}

TEST(CellImage, CellsLargerThanAPixelAreFlatSquares) {
  const HeatMapData d = sampleMap(2, 2, [](int64_t r, int64_t c) { return static_cast<float>(r * 2 + c); });
  const QImage image = cellImage(gridOf(d), nullptr, {QRectF(0, 0, 2, 2), QSize(20, 20), 0, 3, false, 1});
  for (int y = 0; y < 20; ++y)
    for (int x = 0; x < 20; ++x)
      EXPECT_EQ(image.pixel(x, y), colourOf(Look::kSequential, colourLevel((y / 10) * 2 + x / 10, 0, 3), false));
}

}  // namespace
}  // namespace microtome::desktop
