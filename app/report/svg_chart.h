// svg_chart.h — curves and bars as inline SVG with axes, ticks and a legend. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "app/report/svg_heatmap.h"
#include "core/base/artifact.h"

namespace microtome::report {

struct Range {
  double lo = 0, hi = 1;
};
// Round tick values inside [lo, hi], about `wanted` of them.
std::vector<double> nice_ticks(Range range, int wanted);
// The range of all finite y (x) of the series; widened when empty or flat.
Range y_range(const Series& series);
Range x_range(const Series& series);
Range join(Range a, Range b);

// 1, 2, 5 times powers of ten inside [lo, hi], or powers of ten alone where those are many; lo > 0.
std::vector<double> log_ticks(Range range);

// Gaps where y is NaN; more than 400 points a line are thinned; more than 12 lines are left out and counted. log_x: points at
// x <= 0 have no place and are counted under the chart; without any positive x the axis is linear.
std::string line_chart(const Series& series, Range x, Range y, bool log_x = false);

struct Bars {
  std::string axis, unit, label;
  HeatmapAxis labels;  // labels and kinds of the bars
  std::vector<double> values;
  Range y;
};
std::string bar_chart(const Bars& bars);

}  // namespace microtome::report
