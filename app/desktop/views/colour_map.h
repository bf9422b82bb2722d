// colour_map.h — numbers to colours that colour-blind people can read: viridis for values from 0 up, red–white–blue with
// white at zero for signed ones, white to accent for attention probabilities. Pure functions.
#pragma once

#include <QColor>
#include <QRgb>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace microtome::desktop {

enum class Look { kSequential, kDiverging, kPattern };
// "sequential", "diverging", "pattern", as TensorMap::looks has them; anything else: sequential.
Look lookOf(const std::string& name);

constexpr int kColourLevels = 256;
// Level of a finite value on lo…hi, clamped. lo < hi.
int colourLevel(double value, double lo, double hi);
// dark: the app's dark theme. A pattern's zero is then the dark surface; the diverging map's zero stays near white, so that
// a picture means the same in both themes.
QRgb colourOf(Look look, int level, bool dark);
const std::vector<QRgb>& colourTable(Look look, bool dark);
// Whether dark text reads better on it.
bool isLight(QRgb colour);
// Smallest and largest finite value seen so far, and whether any value was NaN. lo and hi mean nothing unless `any`.
struct Extent {
  double lo = 0, hi = 0;
  bool any = false, missing = false;
  void add(const float* values, int64_t count);
};

// From 0 (or the smallest value) to the largest; diverging: symmetric about 0; pattern: 0 to the largest, at least a hair
// wide. Non-finite values are left out.
std::pair<double, double> scaleOf(Look look, const float* values, int64_t count);
std::pair<double, double> scaleOf(Look look, const Extent& extent);
// "Nice" tick values inside lo…hi, at most `most`.
std::vector<double> niceTicks(double lo, double hi, int most = 5);

}  // namespace microtome::desktop
