#include "app/desktop/views/chart_lines.h"

#include <QHash>
#include <algorithm>
#include <cmath>
#include <limits>

namespace microtome::desktop {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// What Qt Charts can place without losing itself.
constexpr double kLargest = 1e300;

double shownY(double y, bool logY) {
  if (!std::isfinite(y) || std::abs(y) > kLargest) return kNone;
  if (!logY) return y;
  return y > 0 ? std::log10(y) : kNone;
}

// Whether shownY() is a number; cheaper than asking for it.
bool shows(double y, bool logY) { return std::abs(y) <= kLargest && (!logY || y > 0); }

bool good(double x) { return std::isfinite(x) && std::abs(x) <= kLargest; }

// Ends a piece: alone, a point can't be a line.
void close(DrawnLine& out, QList<QPointF>& piece) {
  if (piece.size() == 1) out.dots += piece.front();
  else if (piece.size() > 1) out.pieces.push_back(piece);
  piece.clear();
}

void widen(double& lo, double& hi, double part, double least) {
  if (lo > hi) {
    lo = 0;
    hi = 1;
    return;
  }
  if (lo == hi) {
    const double room = lo == 0 ? 1 : std::max(std::abs(lo) * 0.1, least);
    lo -= room;
    hi += room;
    return;
  }
  const double room = (hi - lo) * part;
  lo -= room;
  hi += room;
}

}  // namespace

size_t pointsOf(const ChartLine& line) { return std::min(line.x.size(), line.y.size()); }

bool isAscending(const std::vector<double>& x) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!std::isfinite(x[i]) || (i && x[i] < x[i - 1])) return false;
  return true;
}

Smoother::Smoother(double halfLife) : keep_(halfLife > 0 ? std::exp2(-1 / halfLife) : 0) {}

double Smoother::next(double y) {
  if (!std::isfinite(y)) return y;
  sum_ = keep_ * sum_ + (1 - keep_) * y;
  weight_ = keep_ * weight_ + (1 - keep_);
  return sum_ / weight_;
}

std::vector<double> smoothed(const std::vector<double>& y, double halfLife) {
  if (!(halfLife > 0)) return y;
  Smoother smoother(halfLife);
  std::vector<double> out(y.size());
  for (size_t i = 0; i < y.size(); ++i) out[i] = smoother.next(y[i]);
  return out;
}

DrawnLine drawnLine(const std::vector<double>& x, const std::vector<double>& y, bool ascending, double xLo, double xHi,
                    bool logY) {
  size_t first = 0, last = std::min(x.size(), y.size());
  if (ascending) {
    const auto begin = x.begin(), end = x.begin() + static_cast<std::ptrdiff_t>(last);
    const auto from = std::lower_bound(begin, end, xLo), to = std::upper_bound(from, end, xHi);
    first = static_cast<size_t>(from - begin);
    last = static_cast<size_t>(to - begin);
    first -= first > 0;
    last += static_cast<std::ptrdiff_t>(last) < end - begin;
  }
  DrawnLine out;
  QList<QPointF> piece;
  const size_t count = last - first;
  if (count <= static_cast<size_t>(kMostPoints)) {
    for (size_t i = first; i < last; ++i) {
      const double v = shownY(y[i], logY);
      if (std::isnan(v) || !good(x[i])) close(out, piece);
      else piece += QPointF(x[i], v);
    }
  } else {
    const size_t buckets = kMostPoints / 2;
    for (size_t b = 0; b < buckets; ++b) {
      const size_t from = first + count * b / buckets, to = first + count * (b + 1) / buckets;
      size_t least = to, most = to;
      double leastY = 0, mostY = 0;
      for (size_t i = from; i < to; ++i) {
        const double v = y[i];
        if (!shows(v, logY) || !good(x[i])) continue;
        if (least == to || v < leastY) least = i, leastY = v;
        if (most == to || v > mostY) most = i, mostY = v;
      }
      if (least == to) {
        close(out, piece);
        continue;
      }
      const QPointF low(x[least], shownY(leastY, logY)), high(x[most], shownY(mostY, logY));
      piece += least <= most ? low : high;
      if (least != most) piece += least <= most ? high : low;
    }
  }
  close(out, piece);
  if (out.pieces.size() > kMostPieces) {
    for (const QList<QPointF>& p : out.pieces) out.dots += p;
    out.pieces.clear();
  }
  return out;
}

QList<QPointF> drawnPoints(const std::vector<double>& x, const std::vector<double>& y, const ChartRange& range, bool logY) {
  const size_t count = std::min(x.size(), y.size());
  const double width = std::max(range.xHi - range.xLo, 1e-300), height = std::max(range.yHi - range.yLo, 1e-300);
  for (int cells = count <= static_cast<size_t>(kMostPoints) ? 0 : 400;; cells = cells * 2 / 3) {
    QList<QPointF> out;
    QHash<qint64, bool> taken;
    for (size_t i = 0; i < count; ++i) {
      const double v = shownY(y[i], logY);
      if (std::isnan(v) || !good(x[i])) continue;
      if (cells > 0) {
        const double u = (x[i] - range.xLo) / width, w = (v - range.yLo) / height;
        if (u < 0 || u > 1 || w < 0 || w > 1) continue;
        bool& here = taken[static_cast<qint64>(u * cells) * 4096 + static_cast<qint64>(w * cells)];
        if (here) continue;
        here = true;
      }
      out += QPointF(x[i], v);
    }
    if (cells <= 30 || out.size() <= kMostPoints) return out;
  }
}

ChartRange rangeOf(const ChartData& data, const std::vector<bool>& hidden, bool logY) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  ChartRange r{kInf, -kInf, kInf, -kInf};
  for (size_t l = 0; l < data.lines.size(); ++l) {
    if (l < hidden.size() && hidden[l]) continue;
    const ChartLine& line = data.lines[l];
    for (size_t i = 0, n = pointsOf(line); i < n; ++i) {
      const double v = line.y[i];
      if (!shows(v, logY) || !good(line.x[i])) continue;
      r.xLo = std::min(r.xLo, line.x[i]);
      r.xHi = std::max(r.xHi, line.x[i]);
      r.yLo = std::min(r.yLo, v);
      r.yHi = std::max(r.yHi, v);
    }
  }
  if (logY && r.yLo <= r.yHi) {
    r.yLo = std::log10(r.yLo);
    r.yHi = std::log10(r.yHi);
  }
  const bool scatter = data.kind == ChartData::Kind::kScatter;
  if (scatter && data.unitCircle) {
    r = {std::min(r.xLo, -1.0), std::max(r.xHi, 1.0), std::min(r.yLo, -1.0), std::max(r.yHi, 1.0)};
    widen(r.xLo, r.xHi, 0.08, 0.5);
    widen(r.yLo, r.yHi, 0.08, 0.5);
    return r;
  }
  // Values above zero that come near it are read from zero up.
  const bool fromZero = !logY && !scatter && r.yLo > 0 && r.yLo < 0.3 * r.yHi;
  widen(r.yLo, r.yHi, 0.06, logY ? 0.5 : 0);
  if (fromZero) r.yLo = 0;
  if (!data.xTicks.isEmpty() && !scatter) {
    r.xLo = -0.5;
    r.xHi = static_cast<double>(data.xTicks.size()) - 0.5;
  } else {
    widen(r.xLo, r.xHi, scatter ? 0.06 : 0.01, 0.5);
  }
  return r;
}

qint64 unshownOnLog(const ChartData& data, const std::vector<bool>& hidden) {
  qint64 count = 0;
  for (size_t l = 0; l < data.lines.size(); ++l) {
    if (l < hidden.size() && hidden[l]) continue;
    for (size_t i = 0, n = pointsOf(data.lines[l]); i < n; ++i)
      count += std::isfinite(data.lines[l].y[i]) && data.lines[l].y[i] <= 0;
  }
  return count;
}

qint64 nearestInX(const std::vector<double>& x, const std::vector<double>& y, bool ascending, double at, bool logY) {
  const auto n = static_cast<qint64>(std::min(x.size(), y.size()));
  qint64 best = -1;
  double distance = std::numeric_limits<double>::infinity();
  const auto look = [&](qint64 i) {
    const auto u = static_cast<size_t>(i);
    if (!good(x[u]) || std::isnan(shownY(y[u], logY))) return;
    const double d = std::abs(x[u] - at);
    if (d < distance) distance = d, best = i;
  };
  if (!ascending) {
    for (qint64 i = 0; i < n; ++i) look(i);
    return best;
  }
  const qint64 right = std::lower_bound(x.begin(), x.begin() + n, at) - x.begin();
  // Missing values are stepped over, but not for ever.
  constexpr qint64 kSteps = 10000;
  for (qint64 i = right; i < std::min(n, right + kSteps) && best < 0; ++i) look(i);
  const qint64 before = best;
  for (qint64 i = right - 1; i >= std::max<qint64>(0, right - kSteps) && best == before; --i) {
    look(i);
    if (before >= 0 && std::abs(x[static_cast<size_t>(i)] - at) > distance) break;
  }
  return best;
}

QString unitOf(const QString& label) {
  const qsizetype open = label.lastIndexOf(QLatin1Char('('));
  if (open <= 0 || !label.trimmed().endsWith(QLatin1Char(')'))) return {};
  return label.mid(open + 1, label.lastIndexOf(QLatin1Char(')')) - open - 1).trimmed();
}

}  // namespace microtome::desktop
