// chart_lines.h — what of a line is handed to the chart: smoothed, cut to what is seen, thinned to what can be seen, and
// broken where values are missing. Pure functions on plain numbers.
#pragma once

#include <QList>
#include <QPointF>
#include <QString>
#include <vector>

#include "app/desktop/views/chart_view.h"

namespace microtome::desktop {

constexpr int kMostPoints = 2000;      // of a line, handed to Qt Charts
constexpr size_t kMostPieces = 64;     // a line with more gaps is shown as points

// Coordinates are those of the axes: log10(y) on a log scale.
struct DrawnLine {
  std::vector<QList<QPointF>> pieces;  // two points or more each
  QList<QPointF> dots;                 // points without neighbours
};

struct ChartRange {
  double xLo = 0, xHi = 1, yLo = 0, yHi = 1;
};

// How many points a line has: x and y should be equally long, the shorter counts.
size_t pointsOf(const ChartLine& line);
bool isAscending(const std::vector<double>& x);
// Exponential mean whose weights halve every halfLife points, started so that the first values are not favoured; NaN stays
// NaN and adds nothing. halfLife <= 0: y itself.
std::vector<double> smoothed(const std::vector<double>& y, double halfLife);
// As smoothed(), one value at a time.
class Smoother {
 public:
  explicit Smoother(double halfLife = 0);
  double next(double y);

 private:
  double keep_, sum_ = 0, weight_ = 0;
};

// Points of x in xLo … xHi and one on either side, at most kMostPoints: the least and the largest of each bucket, so that
// no peak is lost. ascending: x never falls (else nothing is cut away, and buckets go by index).
DrawnLine drawnLine(const std::vector<double>& x, const std::vector<double>& y, bool ascending, double xLo, double xHi,
                    bool logY);
// At most kMostPoints points; of those that lie close together one stays.
QList<QPointF> drawnPoints(const std::vector<double>& x, const std::vector<double>& y, const ChartRange& range, bool logY);
// All of `lines` but the hidden ones, with room at the edges; log10 of y on a log scale.
ChartRange rangeOf(const ChartData& data, const std::vector<bool>& hidden, bool logY);
// How many finite points a log scale can't show.
qint64 unshownOnLog(const ChartData& data, const std::vector<bool>& hidden);
// The point that can be shown and is nearest in x; -1: none.
qint64 nearestInX(const std::vector<double>& x, const std::vector<double>& y, bool ascending, double at, bool logY);

// "nats" of "loss (nats)"; empty: none given.
QString unitOf(const QString& label);

}  // namespace microtome::desktop
