// cell_image.h — the cells of a matrix as pixels. What is kept is a pyramid of half-size levels of VALUES (not colours), so
// that a new scale or theme costs nothing but the next frame, and a frame costs by its pixels at any size of the map. Pure
// functions; buildPyramid may run on any thread.
#pragma once

#include <QImage>
#include <QRectF>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "app/desktop/views/colour_map.h"

namespace microtome::desktop {

// values->size() == rows * cols, row-major, shared and never changed. causal: cells right of the diagonal do not exist.
struct CellGrid {
  std::shared_ptr<const std::vector<float>> values;
  int64_t rows = 0, cols = 0;
  Look look = Look::kSequential;
  bool causal = false;

  // False for no values, a size below 1, or a size that is not that of the values.
  bool valid() const;
  int64_t count() const { return rows * cols; }
};

// Level l (levels[l - 1]) has a cell for each 2^l × 2^l block: the value of largest magnitude (diverging), the largest
// (pattern) or the mean (sequential) of those that are there; NaN where none is.
struct CellPyramid {
  struct Level {
    int64_t rows = 0, cols = 0;
    std::vector<float> values;
  };
  std::vector<Level> levels;
  Extent extent;
};

// Maps up to this size are pooled as they are drawn, and need no pyramid.
constexpr int64_t kPyramidFrom = 256 * 1024;

// Null when `stop` became true on the way.
std::shared_ptr<const CellPyramid> buildPyramid(const CellGrid& grid, const std::atomic<bool>& stop);
// Of the existing cells; every `step`-th row and column only.
Extent extentOf(const CellGrid& grid, int64_t step = 1);

struct CellPaint {
  QRectF visible;                      // in cells: x columns, y rows; within the map
  QSize pixels;                        // of the device
  double lo = 0, hi = 1;
  bool dark = false;
  double ratio = 1;                    // device pixels a logical one: the hatching's width
};

// The pyramid's level that `paint` reads; 0: the values themselves.
int levelFor(const CellGrid& grid, const CellPaint& paint);
// RGB32, paint.pixels large. Cells of a pixel or more are flat squares; smaller ones are pooled, so that no lone large value
// is lost. Where a pyramid is needed and null is given, the picture is coarse: one cell a pixel, the others left out.
QImage cellImage(const CellGrid& grid, const CellPyramid* pyramid, const CellPaint& paint);

}  // namespace microtome::desktop
