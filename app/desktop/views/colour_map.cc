#include "app/desktop/views/colour_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

using Rgb = std::array<double, 3>;

// matplotlib's viridis at nine even points; a smooth curve through them stays within 3/255 of it in between.
constexpr std::array<Rgb, 9> kViridis = {{{68, 1, 84},
                                          {71, 45, 123},
                                          {59, 82, 139},
                                          {44, 114, 142},
                                          {33, 144, 140},
                                          {39, 173, 129},
                                          {93, 200, 99},
                                          {170, 220, 50},
                                          {253, 231, 37}}};
// ColorBrewer's RdBu, each half from the centre outwards without the centre: told apart by the common colour-vision
// deficiencies.
constexpr std::array<Rgb, 5> kReds = {{{253, 219, 199}, {244, 165, 130}, {214, 96, 77}, {178, 24, 43}, {103, 0, 31}}};
constexpr std::array<Rgb, 5> kBlues = {{{209, 229, 240}, {146, 197, 222}, {67, 147, 195}, {33, 102, 172}, {5, 48, 97}}};

Rgb rgbOf(const QColor& c) {
  return {static_cast<double>(c.red()), static_cast<double>(c.green()), static_cast<double>(c.blue())};
}

Rgb mix(const Rgb& a, const Rgb& b, double t) {
  Rgb out;
  for (size_t k = 0; k < 3; ++k) out[k] = a[k] + (b[k] - a[k]) * t;
  return out;
}

QRgb packed(const Rgb& c) {
  const auto byte = [](double v) { return static_cast<int>(std::lround(std::clamp(v, 0.0, 255.0))); };
  return qRgb(byte(c[0]), byte(c[1]), byte(c[2]));
}

Rgb viridis(double t) {
  const double x = t * (kViridis.size() - 1);
  const int last = static_cast<int>(kViridis.size()) - 1;
  const int i = std::min(static_cast<int>(x), last - 1);
  const double f = x - i;
  const Rgb& p1 = kViridis[i];
  const Rgb& p2 = kViridis[i + 1];
  Rgb out;
  for (size_t k = 0; k < 3; ++k) {
    // Catmull-Rom; beyond the ends the curve goes on straight.
    const double p0 = i > 0 ? kViridis[i - 1][k] : 2 * p1[k] - p2[k];
    const double p3 = i + 2 <= last ? kViridis[i + 2][k] : 2 * p2[k] - p1[k];
    out[k] = p1[k] +
             0.5 * f * (p2[k] - p0 + f * (2 * p0 - 5 * p1[k] + 4 * p2[k] - p3 + f * (3 * (p1[k] - p2[k]) + p3 - p0)));
  }
  return out;
}

// t: 0 at the centre, 1 at the end.
Rgb half(const std::array<Rgb, 5>& stops, const Rgb& centre, double t) {
  const double x = t * stops.size();
  const size_t i = std::min(static_cast<size_t>(x), stops.size() - 1);
  return mix(i == 0 ? centre : stops[i - 1], stops[i], x - static_cast<double>(i));
}

std::vector<QRgb> makeTable(Look look, bool dark) {
  const Theme& theme = dark ? Theme::darkTheme() : Theme::light();
  // The dark theme's lightest neutral: pure white would glare there.
  const Rgb centre = rgbOf(dark ? theme.text : theme.surface);
  std::vector<QRgb> table(kColourLevels);
  for (int i = 0; i < kColourLevels; ++i) {
    const double t = static_cast<double>(i) / (kColourLevels - 1);
    if (look == Look::kSequential) {
      table[i] = packed(viridis(t));
    } else if (look == Look::kPattern) {
      table[i] = packed(mix(rgbOf(theme.surface), rgbOf(theme.accent), t));
    } else {
      // Zero falls between the two middle levels; both are the centre's colour, so that ±x mirror each other.
      const double from = std::abs(i - (kColourLevels - 1) / 2.0) - 0.5;
      table[i] = packed(half(i < kColourLevels / 2 ? kReds : kBlues, centre, from / (kColourLevels / 2.0 - 1)));
    }
  }
  return table;
}

}  // namespace

Look lookOf(const std::string& name) {
  if (name == "diverging") return Look::kDiverging;
  if (name == "pattern") return Look::kPattern;
  return Look::kSequential;
}

int colourLevel(double value, double lo, double hi) {
  const double t = (value - lo) / (hi - lo);
  if (!(t > 0)) return 0;
  if (t >= 1) return kColourLevels - 1;
  return static_cast<int>(t * (kColourLevels - 1) + 0.5);
}

QRgb colourOf(Look look, int level, bool dark) {
  return colourTable(look, dark)[std::clamp(level, 0, kColourLevels - 1)];
}

const std::vector<QRgb>& colourTable(Look look, bool dark) {
  static const std::array<std::vector<QRgb>, 6> tables = [] {
    std::array<std::vector<QRgb>, 6> all;
    for (Look l : {Look::kSequential, Look::kDiverging, Look::kPattern})
      for (bool d : {false, true}) all[static_cast<size_t>(l) * 2 + (d ? 1 : 0)] = makeTable(l, d);
    return all;
  }();
  return tables[static_cast<size_t>(look) * 2 + (dark ? 1 : 0)];
}

bool isLight(QRgb colour) {
  const auto linear = [](int byte) {
    const double c = byte / 255.0;
    return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
  };
  // Where the light theme's ink and white have the same contrast (WCAG's formula).
  return 0.2126 * linear(qRed(colour)) + 0.7152 * linear(qGreen(colour)) + 0.0722 * linear(qBlue(colour)) > 0.21;
}

void Extent::add(const float* values, int64_t count) {
  float least = std::numeric_limits<float>::infinity(), most = -least;
  bool nan = false;
  for (int64_t i = 0; i < count; ++i) {
    const float v = values[i];
    nan |= v != v;
    // Infinities and NaN alike fail this.
    if (std::abs(v) <= std::numeric_limits<float>::max()) {
      least = std::min(least, v);
      most = std::max(most, v);
    }
  }
  missing |= nan;
  if (least > most) return;
  lo = any ? std::min<double>(lo, least) : least;
  hi = any ? std::max<double>(hi, most) : most;
  any = true;
}

std::pair<double, double> scaleOf(Look look, const Extent& extent) {
  if (!extent.any) return look == Look::kDiverging ? std::pair(-1.0, 1.0) : std::pair(0.0, 1.0);
  // So that a map of nothing but noise around zero has numbers on its bar.
  constexpr double kHair = 1e-12;
  if (look == Look::kDiverging) {
    const double m = std::max(std::abs(extent.lo), std::abs(extent.hi));
    return m > kHair ? std::pair(-m, m) : std::pair(-1.0, 1.0);
  }
  if (look == Look::kPattern) return {0.0, extent.hi > kHair ? extent.hi : 1.0};
  const double lo = std::min(0.0, extent.lo);
  double hi = extent.hi;
  if (hi - lo <= kHair) hi = lo < 0 ? 0.0 : 1.0;
  return hi - lo > kHair ? std::pair(lo, hi) : std::pair(0.0, 1.0);
}

std::pair<double, double> scaleOf(Look look, const float* values, int64_t count) {
  Extent extent;
  extent.add(values, count);
  return scaleOf(look, extent);
}

std::vector<double> niceTicks(double lo, double hi, int most) {
  const double span = hi - lo;
  if (most < 1 || !(span > 0) || !std::isfinite(span) || !std::isfinite(lo)) return {};
  // Steps of 1, 2 and 5 times a power of ten, the first that gives no more than `most`.
  double power = std::pow(10.0, std::floor(std::log10(span / most)));
  if (!(power > 0)) return {};
  for (int round = 0; round < 4; ++round, power *= 10) {
    for (double factor : {1.0, 2.0, 5.0}) {
      const double step = factor * power;
      const double first = std::ceil(lo / step - 1e-9), last = std::floor(hi / step + 1e-9);
      if (last - first + 1 > most) continue;
      // Far from zero a step may vanish in the number's rounding.
      if (std::abs(first) > 1e15) return {};
      std::vector<double> ticks;
      for (double i = first; i <= last; ++i) ticks.push_back(i == 0 ? 0.0 : std::clamp(i * step, lo, hi));
      return ticks;
    }
  }
  return {};
}

}  // namespace microtome::desktop
