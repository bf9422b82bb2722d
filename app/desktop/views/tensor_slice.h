// tensor_slice.h — a two-dimensional cut through an array of any rank: two axes stay, every other one is held at an index or
// averaged. Pure functions, free of widgets; any thread.
#pragma once

#include <QHash>
#include <QString>
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::desktop {

constexpr int64_t kMean = -1;          // instead of an index: the mean over the axis, cells without a value left out

struct TensorSlice {
  int rows = -1, cols = -1;            // axes of the array; -1: none (one row, one column)
  std::vector<int64_t> at;             // one an axis: index or kMean; not used for rows and cols
  bool operator==(const TensorSlice&) const = default;
};

// One sentence when axes, sizes and numbers do not fit together or an axis is empty; else empty.
QString problemOf(const NamedArray& array);

// Where to begin: query × key for patterns, a matrix as it is, layer × head, layer × position, else the last two axes that
// are not prompts. Prompts are averaged, positions begin at the last, others at the first.
TensorSlice defaultSlice(const NamedArray& array, const std::string& look);
// False for numbers whose mean says nothing (token ids).
bool hasMean(const NamedArray& array);

// The slice with its places moved inside the array's sizes; nothing when its axes are not the array's.
std::optional<TensorSlice> fitted(const NamedArray& array, TensorSlice slice);
// Axis name → index of a cell, for every axis that is not averaged.
QHash<QString, qint64> placeOf(const NamedArray& array, const TensorSlice& slice, int64_t row, int64_t col);

int64_t rowsOf(const NamedArray& array, const TensorSlice& slice);
int64_t colsOf(const NamedArray& array, const TensorSlice& slice);
// How many numbers of the array are read for it.
int64_t costOf(const NamedArray& array, const TensorSlice& slice);
// rows × cols, row-major; NaN where there is none. For an array without a problem and a slice within it. Stops early, with
// cells left NaN, once `stop` is true.
std::vector<float> cut(const NamedArray& array, const TensorSlice& slice, const std::atomic<bool>& stop);
// Smallest and largest finite number of the whole array; {0, 0} when there is none.
std::pair<double, double> rangeOf(const NamedArray& array, const std::atomic<bool>& stop);

// A pattern in which nothing looks ahead: square, and every cell right of the diagonal is 0 or missing.
bool isCausal(const std::vector<float>& values, int64_t rows, int64_t cols);
bool isPositionAxis(const std::string& axis);

}  // namespace microtome::desktop
