#include "app/desktop/views/chart_frame.h"

#include <QFontMetricsF>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/colour_map.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr double kHalf = kGrid / 2.0;
constexpr double kSample = 2.5 * kGrid;                // the piece of line in a legend
constexpr int kLegendRows = 3;
constexpr double kSmallChart = 200, kTinyChart = 130;
constexpr int kTokenLetters = 12;                      // of a tick label

double widest(const std::vector<ChartTick>& ticks, const QFontMetricsF& metrics) {
  double width = 0;
  for (const ChartTick& tick : ticks) width = std::max(width, metrics.horizontalAdvance(tick.label));
  return width;
}

QString tokenLabel(const QString& token) {
  QString out = visibleToken(token.left(2 * kTokenLetters));
  if (out.size() > kTokenLetters) out = out.left(kTokenLetters - 1) + QChar(0x2026);
  return out;
}

// Labels of tokens in sight, every n-th when they stand too close even at a slant.
std::vector<ChartTick> tokenTicks(const QStringList& tokens, const ChartRange& range, double width,
                                  const QFontMetricsF& metrics,
                                  bool& slanted) {
  std::vector<ChartTick> out;
  const auto first = static_cast<qint64>(std::max(0.0, std::ceil(range.xLo)));
  const auto last = static_cast<qint64>(std::min(static_cast<double>(tokens.size()) - 1, std::floor(range.xHi)));
  if (first > last) return out;
  const double spacing = width / std::max(1e-9, range.xHi - range.xLo);
  // More labels than pixels need not be measured.
  const qint64 stride = std::max<qint64>(1, static_cast<qint64>(std::ceil(metrics.height() * 1.3 / std::max(1e-9, spacing))));
  double widestLabel = 0;
  for (qint64 i = (first + stride - 1) / stride * stride; i <= last; i += stride) {
    out.push_back({static_cast<double>(i), tokenLabel(tokens[i])});
    widestLabel = std::max(widestLabel, metrics.horizontalAdvance(out.back().label));
  }
  slanted = widestLabel + kGrid > spacing * static_cast<double>(stride);
  return out;
}

// Keys in rows; the last one counts those for which there was no room.
double placeLegend(const ChartState& state, ChartFrame& f, double left, double right, double top,
                   const QFontMetricsF& metrics) {
  f.legend.clear();
  if (state.data.lines.size() < 2) return top;
  const double height = std::ceil(metrics.height()) + 2;
  // A small chart needs its room for the lines.
  const int rows = f.size.height() < kSmallChart ? 1 : kLegendRows;
  // The first key leaves room for the count of the others.
  const double most = rows > 1 ? 22 * kGrid : std::clamp(right - left - kSample - 12 * kGrid, 8.0 * kGrid, 22.0 * kGrid);
  double x = left, y = top;
  int row = 0;
  for (size_t l = 0; l < state.data.lines.size(); ++l) {
    const QString name = metrics.elidedText(plainLine(state.data.lines[l].name, 80), Qt::ElideMiddle, most);
    const double width = kSample + kGrid + metrics.horizontalAdvance(name) + 2;
    const bool full = row == rows - 1 && x + width + 9 * kGrid > right && l + 1 < state.data.lines.size();
    if (x > left && (x + width > right || full)) {
      if (row == rows - 1) {
        f.legend.push_back({QRectF(x, y, 9 * kGrid, height), -1,
                            ChartView::tr("+ %1 more").arg(state.data.lines.size() - l)});
        return y + height + kHalf;
      }
      x = left;
      y += height;
      ++row;
    }
    f.legend.push_back({QRectF(x, y, std::min(width, std::max(1.0, right - x)), height), static_cast<int>(l), name});
    x += width + 2 * kGrid;
  }
  return y + height + kHalf;
}

// To the eye: a layer's colour may lie beside one of the series.
bool alike(const QColor& a, const QColor& b) {
  return std::abs(a.red() - b.red()) + std::abs(a.green() - b.green()) + std::abs(a.blue() - b.blue()) < 40;
}

// Equal units in pixels on both axes.
void makeEqual(ChartRange& r, const QRectF& plot) {
  if (plot.width() < 1 || plot.height() < 1) return;
  const double ux = (r.xHi - r.xLo) / plot.width(), uy = (r.yHi - r.yLo) / plot.height();
  if (!(ux > 0) || !(uy > 0)) return;
  if (ux < uy) {
    const double middle = (r.xLo + r.xHi) / 2, half = uy * plot.width() / 2;
    r.xLo = middle - half;
    r.xHi = middle + half;
  } else {
    const double middle = (r.yLo + r.yHi) / 2, half = ux * plot.height() / 2;
    r.yLo = middle - half;
    r.yHi = middle + half;
  }
}

}  // namespace

ChartFonts ChartFonts::of(const QFont& base) {
  ChartFonts f;
  f.base = f.small = f.title = base;
  const double size = base.pointSizeF() > 0 ? base.pointSizeF() : 10;
  f.small.setPointSizeF(std::max(6.0, size - 1));
  f.title.setBold(true);
  f.token = monoFont(-1);
  return f;
}

QPointF ChartFrame::toPixel(double x, double y) const {
  return {plot.left() + (x - range.xLo) / (range.xHi - range.xLo) * plot.width(),
          plot.bottom() - (y - range.yLo) / (range.yHi - range.yLo) * plot.height()};
}

double ChartFrame::xAt(double px) const { return range.xLo + (px - plot.left()) / plot.width() * (range.xHi - range.xLo); }

double ChartFrame::yAt(double py) const {
  return range.yLo + (plot.bottom() - py) / plot.height() * (range.yHi - range.yLo);
}

QColor lineColour(const ChartState& state, size_t line, const Theme& theme) {
  const ChartLine& l = state.data.lines[line];
  if (l.recurrent || l.softmax) return theme.layerColour(l.recurrent);
  return theme.series(l.colour >= 0 ? l.colour : static_cast<int>(line % 7000));
}

Qt::PenStyle lineStyle(const ChartState& state, size_t line, const Theme& theme) {
  // The n-th line of one colour has the n-th pattern.
  const QColor colour = lineColour(state, line, theme);
  size_t before = 0;
  for (size_t i = 0; i < line && i < 256; ++i) before += alike(lineColour(state, i, theme), colour);
  constexpr Qt::PenStyle kStyles[] = {Qt::SolidLine, Qt::DashLine, Qt::DotLine, Qt::DashDotLine};
  return kStyles[before % 4];
}

QString tickText(double value, double step) {
  if (!(step > 0) || !std::isfinite(step) || std::abs(value) < step * 1e-6) return numberText(0);
  // Steps are 1, 2 or 5 times a power of ten: digits down to that power.
  const double digits = std::floor(std::log10(std::abs(value)) + 1e-9) - std::floor(std::log10(step) + 1e-9) + 1;
  return numberText(value, static_cast<int>(std::clamp(digits, 1.0, 15.0)));
}

QString decadeText(int exponent) {
  if (exponent >= -3 && exponent <= 4) return numberText(std::pow(10.0, exponent), 1);
  static const QString kRaised = QStringLiteral("⁰¹²³⁴⁵⁶⁷⁸⁹");
  QString out = QStringLiteral("10");
  if (exponent < 0) out += QChar(0x207b);
  for (QChar c : QString::number(std::abs(exponent))) out += kRaised[c.digitValue()];
  return out;
}

std::vector<ChartTick> linearTicks(double lo, double hi, int most) {
  std::vector<ChartTick> out;
  if (!(lo < hi) || !std::isfinite(hi - lo)) return out;
  const std::vector<double> at = niceTicks(lo, hi, std::max(2, most));
  const double step = at.size() > 1 ? at[1] - at[0] : std::abs(hi - lo);
  for (double v : at) out.push_back({v, tickText(v, step)});
  return out;
}

std::vector<ChartTick> logTicks(double lo, double hi, int most) {
  std::vector<ChartTick> out;
  if (!(lo < hi) || !std::isfinite(hi - lo)) return out;
  const auto first = static_cast<int>(std::floor(lo)), last = static_cast<int>(std::ceil(hi));
  const double decades = hi - lo;
  if (decades < 1) {
    // Less than a decade: round numbers say more than powers.
    for (const ChartTick& t : linearTicks(std::pow(10.0, lo), std::pow(10.0, hi), most))
      if (t.at > 0) out.push_back({std::log10(t.at), t.label});
    return out;
  }
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / std::max(2, most))));
  for (int e = first; e <= last; ++e) {
    if (e >= lo && e <= hi) out.push_back({static_cast<double>(e), e % stride == 0 ? decadeText(e) : QString()});
    if (decades > 4) continue;
    for (int m = 2; m <= 9; ++m) {
      const double at = e + std::log10(static_cast<double>(m));
      const bool named = decades < 2 && (m == 2 || m == 5) && e >= -3 && e <= 4;
      if (at >= lo && at <= hi) out.push_back({at, named ? numberText(m * std::pow(10.0, e), 1) : QString()});
    }
  }
  return out;
}

ChartFrame frameOf(const ChartState& state, ChartRange range, const QSizeF& size, const ChartFonts& fonts) {
  const QFontMetricsF small(fonts.small), token(fonts.token), title(fonts.title);
  ChartFrame f;
  f.size = size;
  f.plot = QRectF(QPointF(), size).adjusted(8 * kGrid, 2 * kGrid, -2 * kGrid, -6 * kGrid);
  const bool equal = state.scatter() && state.data.unitCircle;
  // The labels depend on the room, and the room on the labels: twice is enough.
  for (int pass = 0; pass < 3; ++pass) {
    f.range = range;
    if (equal) makeEqual(f.range, f.plot);
    const int mostY = std::clamp(static_cast<int>(f.plot.height() / (5 * kGrid)), 2, 9);
    f.yTicks = state.logY ? logTicks(f.range.yLo, f.range.yHi, mostY) : linearTicks(f.range.yLo, f.range.yHi, mostY);
    double left = kGrid;
    f.yTitle = {};
    if (!state.data.yLabel.isEmpty()) {
      f.yTitle = QRectF(left, 0, std::ceil(small.height()), size.height());
      left += f.yTitle.width() + kHalf;
    }
    left = std::ceil(left + widest(f.yTicks, small) + kGrid);
    double right = size.width() - 2 * kGrid;
    double top = kGrid;
    f.title = {};
    if (!state.data.title.isEmpty()) {
      f.title = QRectF(left, top, std::max(1.0, right - left), std::ceil(title.height()));
      top = f.title.bottom() + kHalf;
    }
    top = placeLegend(state, f, left, right, top, small) + kHalf;
    const double width = std::max(1.0, right - left);
    f.slanted = false;
    double labels = std::ceil(small.height());
    if (state.tokens()) {
      f.xTicks = tokenTicks(state.data.xTicks, f.range, width, token, f.slanted);
      labels = f.slanted ? std::ceil((widest(f.xTicks, token) + token.height()) * 0.7071) : std::ceil(token.height());
    } else {
      const int most = std::clamp(static_cast<int>(width / ((equal ? 7 : state.data.logX ? 5 : 9) * kGrid)), 2, 11);
      f.xTicks = state.data.logX ? logTicks(f.range.xLo, f.range.xHi, most) : linearTicks(f.range.xLo, f.range.xHi, most);
    }
    double bottom = size.height() - kHalf;
    f.xTitle = {};
    if (!state.data.xLabel.isEmpty() && f.size.height() >= kTinyChart) {
      f.xTitle = QRectF(left, bottom - std::ceil(small.height()), width, std::ceil(small.height()));
      bottom = f.xTitle.top() - kHalf;
    }
    bottom = std::floor(bottom - labels - kHalf - 2);
    f.plot = QRectF(left, top, width, std::max(1.0, bottom - top));
    f.yTitle.setTop(f.plot.top());
    f.yTitle.setBottom(f.plot.bottom());
  }
  return f;
}

}  // namespace microtome::desktop
