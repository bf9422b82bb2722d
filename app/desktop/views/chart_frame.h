// chart_frame.h — where everything of a chart stands: plot, ticks and their labels, titles, legend. And how the parts that
// Qt Charts doesn't draw are painted: grid, axes with token labels, legend, empty state, cursor, callout.
#pragma once

#include <QFont>
#include <QRectF>
#include <QString>
#include <limits>
#include <vector>

#include "app/desktop/views/chart_lines.h"
#include "app/desktop/views/chart_view.h"

class QPainter;

namespace microtome::desktop {

struct Theme;

struct ChartTick {
  double at = 0;                       // axis units (log10 on a log scale)
  QString label;                       // empty: a minor line without a label
};

// What is shown, apart from the numbers' place on the screen.
struct ChartState {
  ChartData data;
  QString emptyText;                   // not empty: shown instead of a chart
  bool logY = false;
  double halfLife = 0;                 // of the smoothing, in points; 0: none
  double cursor = std::numeric_limits<double>::quiet_NaN();
  std::vector<bool> hidden, ascending; // one a line
  std::vector<std::vector<double>> smooth;   // one a line, as long as its y; empty without smoothing
  qint64 unshown = 0;                  // points a log scale leaves out

  bool tokens() const { return !data.xTicks.isEmpty() && data.kind == ChartData::Kind::kLines; }
  bool scatter() const { return data.kind == ChartData::Kind::kScatter; }
  bool shows(size_t line) const { return line < hidden.size() && !hidden[line]; }
};

struct LegendKey {
  QRectF rect;
  int line = -1;                       // -1: "+ 12 more"
  QString text;
};

struct ChartFonts {
  QFont base, small, title, token;
  static ChartFonts of(const QFont& base);
};

// In pixels of the chart.
struct ChartFrame {
  QSizeF size;
  QRectF plot, title, xTitle, yTitle;  // yTitle: the column in which the text runs upward
  ChartRange range;
  std::vector<ChartTick> xTicks, yTicks;
  std::vector<LegendKey> legend;
  bool slanted = false;                // x labels at 45°

  QPointF toPixel(double x, double y) const;
  double xAt(double px) const;
  double yAt(double py) const;
};

// Colour, dashes and shape of a line: told apart by more than hue.
QColor lineColour(const ChartState& state, size_t line, const Theme& theme);
Qt::PenStyle lineStyle(const ChartState& state, size_t line, const Theme& theme);
// Text of a tick: as many digits as the step needs.
QString tickText(double value, double step);
// "10⁻⁵", or the number itself where it is short.
QString decadeText(int exponent);
std::vector<ChartTick> linearTicks(double lo, double hi, int most);
std::vector<ChartTick> logTicks(double lo, double hi, int most);

// `range` is widened to equal axes when the data ask for the unit circle.
ChartFrame frameOf(const ChartState& state, ChartRange range, const QSizeF& size, const ChartFonts& fonts);
// What is below the lines and what is around them.
void drawBackdrop(QPainter& p, const ChartState& state, const ChartFrame& frame, const ChartFonts& fonts, const Theme& theme);

struct ChartHover {
  int line = -1;                       // -1: nothing
  qint64 index = -1;
  QPointF at;                          // in the plot, pixels
  QString name, x, y;                  // rows of the callout
};
// Cursor line, callout and rubber band (a null rectangle: none).
void drawOverlay(QPainter& p, const ChartState& state, const ChartFrame& frame, const ChartHover& hover, const QRectF& band,
                 const ChartFonts& fonts, const Theme& theme);

}  // namespace microtome::desktop
