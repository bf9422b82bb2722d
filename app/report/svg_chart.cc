#include "app/report/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "app/report/html.h"

namespace microtome::report {
namespace {

constexpr double kLeft = 58, kTop = 12, kHeight = 200;

Range finite_range(const std::vector<const std::vector<double>*>& lists) {
  Range r{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const auto* list : lists) {
    for (double v : *list) {
      if (!std::isfinite(v)) continue;
      r.lo = std::min(r.lo, v);
      r.hi = std::max(r.hi, v);
    }
  }
  if (r.lo > r.hi) return {0, 1};
  if (r.lo == r.hi) {
    double pad = r.lo == 0 ? 1 : std::fabs(r.lo) * 0.1;
    return {r.lo - pad, r.hi + pad};
  }
  return r;
}

std::string label(const char* cls, double x, double y, const std::string& words, const std::string& more = {}) {
  return std::string("<text class=\"") + cls + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\"" + more +
         ">" + escape(words) + "</text>";
}

// Frame, grid lines and numbers of the y axis.
std::string y_axis(Range y, double width, const std::string& name) {
  std::string out;
  for (double t : nice_ticks(y, 5)) {
    double at = kTop + kHeight * (1 - (t - y.lo) / (y.hi - y.lo));
    out += "<path class=\"" + std::string(t == 0 ? "ze" : "gr") + "\" d=\"M" + coordinate(kLeft) + " " +
           coordinate(at) + "h" + coordinate(width) + "\"/>" + label("tr", kLeft - 6, at + 3.5, number(t, 3));
  }
  double middle = kTop + kHeight / 2;
  return out + label("axm", 12, middle, shorten(name, 40), " transform=\"rotate(-90 12 " + coordinate(middle) + ")\"");
}

std::string open(double w, double h, const std::string& name) {
  return "<svg role=\"img\" width=\"" + coordinate(w) + "\" height=\"" + coordinate(h) + "\" viewBox=\"0 0 " +
         coordinate(w) + " " + coordinate(h) + "\" aria-label=\"" + escape(name) + "\">";
}

}  // namespace

std::vector<double> nice_ticks(Range r, int wanted) {
  double span = r.hi - r.lo;
  if (!(span > 0) || !std::isfinite(span) || wanted < 1) return {r.lo};
  double rough = span / wanted, power = std::pow(10, std::floor(std::log10(rough)));
  double step = power;
  for (double m : {1.0, 2.0, 5.0, 10.0}) {
    step = m * power;
    if (step >= rough) break;
  }
  std::vector<double> out;
  double first = std::ceil(r.lo / step - 1e-9);
  for (int i = 0; i < 4 * wanted; ++i) {
    double v = (first + i) * step;
    if (v > r.hi + step * 1e-6) break;
    out.push_back(std::fabs(v) < step * 1e-6 ? 0 : v);
  }
  return out.empty() ? std::vector<double>{r.lo} : out;
}

Range y_range(const Series& s) {
  std::vector<const std::vector<double>*> lists;
  for (const auto& l : s.lines) lists.push_back(&l.y);
  return finite_range(lists);
}

Range x_range(const Series& s) {
  std::vector<const std::vector<double>*> lists;
  for (const auto& l : s.lines) lists.push_back(&l.x);
  return finite_range(lists);
}

Range join(Range a, Range b) { return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)}; }

std::vector<double> log_ticks(Range r) {
  if (!(r.lo > 0) || !(r.hi >= r.lo) || !std::isfinite(r.hi)) return {};
  const int first = static_cast<int>(std::floor(std::log10(r.lo) + 1e-9)), last = static_cast<int>(std::floor(std::log10(r.hi) + 1e-9));
  const int step = std::max(1, (last - first) / 8);
  std::vector<double> out;
  for (int p = first; p <= last; p += step) {
    for (double m : {1.0, 2.0, 5.0}) {
      if (m > 1 && last - first > 3) break;
      // Powers by name: 10^-1 is 0.1, not a neighbour of it.
      const double v = p < 0 ? m / std::pow(10, -p) : m * std::pow(10, p);
      if (v >= r.lo * (1 - 1e-9) && v <= r.hi * (1 + 1e-9)) out.push_back(v);
    }
  }
  return out;
}

namespace {

// The lines that are the ends of an interval around the first one, if the series has them: "low …" and "high …".
std::optional<std::pair<size_t, size_t>> interval_of(const Series& s) {
  size_t low = 0, high = 0;
  for (size_t i = 1; i < s.lines.size(); ++i) {
    if (s.lines[i].name.rfind("low", 0) == 0) low = low ? s.lines.size() : i;
    if (s.lines[i].name.rfind("high", 0) == 0) high = high ? s.lines.size() : i;
  }
  if (low == 0 || high == 0 || std::max(low, high) >= s.lines.size() || s.lines[low].x != s.lines[high].x) return std::nullopt;
  return std::pair{low, high};
}

}  // namespace

std::string line_chart(const Series& s, Range x, Range y, bool log_x) {
  constexpr double kWidth = 440;
  constexpr size_t kLines = 12, kPoints = 400;
  size_t no_place = 0;
  if (log_x) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& l : s.lines)
      for (double v : l.x) {
        if (std::isfinite(v) && v > 0) least = std::min(least, v);
        no_place += v <= 0;
      }
    log_x = std::isfinite(least) && x.hi > 0;
    if (log_x && !(x.lo > 0)) x.lo = std::min(least, x.hi);
    if (log_x && !(x.hi > x.lo)) x = {x.lo / 2, x.lo * 2};
    if (!log_x) no_place = 0;
  }
  double pad = (y.hi - y.lo) * 0.04;
  y = {y.lo - (y.lo == 0 ? 0 : pad), y.hi + pad};
  size_t n = std::min(s.lines.size(), kLines);
  // Legend in columns of 220 pixels under the axis.
  double legend = n > 1 ? std::ceil(static_cast<double>(n) / 2) * 18 + 6 : 0;
  double total_h = kTop + kHeight + 40 + legend;
  std::string out = open(kLeft + kWidth + 16, total_h, s.title.empty() ? s.name : s.title);
  out += y_axis(y, kWidth, s.y_label);
  auto px = [&](double v) {
    return kLeft + kWidth * (log_x ? std::log(v / x.lo) / std::log(x.hi / x.lo) : (v - x.lo) / (x.hi - x.lo));
  };
  auto py = [&](double v) { return kTop + kHeight * (1 - (v - y.lo) / (y.hi - y.lo)); };
  for (double t : log_x ? log_ticks(x) : nice_ticks(x, 6)) out += label("tm", px(t), kTop + kHeight + 14, number(t, 4));
  out += "<path class=\"axl\" d=\"M" + coordinate(kLeft) + " " + coordinate(kTop) + "v" + coordinate(kHeight) + "h" +
         coordinate(kWidth) + "\"/>";
  out += label("axm", kLeft + kWidth / 2, kTop + kHeight + 32, shorten(s.x_label, 60));
  const auto interval = interval_of(s);
  if (interval) {
    const Series::Line &low = s.lines[interval->first], &high = s.lines[interval->second];
    std::vector<std::string> there, back;
    for (size_t k = 0; k < std::min({low.x.size(), low.y.size(), high.y.size()}); ++k) {
      if (!std::isfinite(low.x[k]) || !std::isfinite(low.y[k]) || !std::isfinite(high.y[k]) || (log_x && low.x[k] <= 0)) continue;
      there.push_back(coordinate(px(low.x[k])) + " " + coordinate(py(low.y[k])));
      back.push_back(coordinate(px(low.x[k])) + " " + coordinate(py(high.y[k])));
    }
    std::string d;
    for (const std::string& at : there) d += (d.empty() ? "M" : "L") + at;
    for (auto at = back.rbegin(); at != back.rend(); ++at) d += "L" + *at;
    if (there.size() > 1) out += "<path class=\"band f0\" d=\"" + d + "Z\"/>";
  }
  size_t place = 0;                                    // in the legend
  for (size_t i = 0; i < n; ++i) {
    const Series::Line& line = s.lines[i];
    if (interval && i == interval->second) continue;
    const size_t at = place++;
    double lx = kLeft + static_cast<double>(at % 2) * 220, ly = kTop + kHeight + 50 + static_cast<double>(at / 2) * 18;
    if (interval && i == interval->first) {
      const size_t open_ = line.name.find('('), close = line.name.rfind(')');
      const std::string level = open_ != std::string::npos && close != std::string::npos && close > open_ ? line.name.substr(open_ + 1, close - open_ - 1) + " " : "";
      out += "<path class=\"band f0\" d=\"M" + coordinate(lx) + " " + coordinate(ly - 9) + "h18v10h-18Z\"/>" + label("tk", lx + 24, ly, shorten(level, 20) + "interval");
      continue;
    }
    size_t points = std::min(line.x.size(), line.y.size()),
           step = std::max<size_t>(1, (points + kPoints - 1) / kPoints);
    std::string d, dots;
    bool pen = false;
    for (size_t k = 0; k < points; k += step) {
      if (!std::isfinite(line.x[k]) || !std::isfinite(line.y[k]) || (log_x && line.x[k] <= 0)) {
        pen = false;
        continue;
      }
      std::string at = coordinate(px(line.x[k])) + " " + coordinate(py(line.y[k]));
      d += (pen ? "L" : "M") + at;
      pen = true;
      if (points <= 24) {
        size_t gap = at.find(' ');
        dots += "<circle class=\"f" + std::to_string(i % 8) + "\" cx=\"" + at.substr(0, gap) + "\" cy=\"" +
                at.substr(gap + 1) + "\" r=\"2.5\"><title>" +
                escape(shorten(line.name, 40) + ": " + number(line.x[k], 4) + ", " + number(line.y[k], 4)) +
                "</title></circle>";
      }
    }
    std::string cls = "l" + std::to_string(i % 8) + (i >= 8 ? " da" : "");
    out += "<path class=\"ln " + cls + "\" d=\"" + d + "\"/>" + dots;
    if (n > 1) {
      out += "<path class=\"ln " + cls + "\" d=\"M" + coordinate(lx) + " " + coordinate(ly - 4) + "h18\"/>" +
             label("tk", lx + 24, ly, shorten(line.name, 30));
    }
  }
  out += "</svg>";
  if (s.lines.size() > n) {
    out += "<p class=\"note\">" + std::to_string(s.lines.size() - n) +
           " more curves are not drawn; they are in the stored result.</p>";
  }
  if (no_place > 0) out += "<p class=\"note\">Points at 0 have no place on a logarithmic axis: " + std::to_string(no_place) + " not drawn.</p>";
  return out;
}

std::string bar_chart(const Bars& b) {
  size_t n = b.values.size();
  if (n == 0) return {};
  constexpr double kLetter = 6.1;
  double slot = std::clamp(440.0 / static_cast<double>(n), 7.0, 48.0), width = slot * static_cast<double>(n);
  bool own = b.labels.labels.size() == n;
  size_t step = 1;
  int widest = 1;
  for (size_t i = 0; own && i < n; ++i) widest = std::max(widest, std::min(14, text_cells(b.labels.labels[i])));
  if (!own) widest = static_cast<int>(std::to_string(n).size());
  bool upright = widest * kLetter > slot - 4;
  if (upright && !own) {
    upright = false;
    step = static_cast<size_t>(std::ceil((widest * kLetter + 8) / slot));
  } else if (upright) {
    step = static_cast<size_t>(std::ceil(11 / slot));
  }
  double below = upright ? widest * kLetter + 10 : 18;
  Range y{std::min(0.0, b.y.lo), std::max(0.0, b.y.hi)};
  if (!(y.hi > y.lo)) y.hi = y.lo + 1;
  double room = (y.hi - y.lo) * 0.05;
  y = {y.lo < 0 ? y.lo - room : 0, y.hi > 0 ? y.hi + room : 0};
  std::string out = open(kLeft + width + 12, kTop + kHeight + below + 22, b.label);
  out += y_axis(y, width, b.unit.empty() ? b.label : b.label + " (" + b.unit + ")");
  double zero = kTop + kHeight * (1 - (0 - y.lo) / (y.hi - y.lo));
  for (size_t i = 0; i < n; ++i) {
    double v = b.values[i], x = kLeft + slot * static_cast<double>(i), inset = slot > 12 ? slot * 0.18 : 1;
    bool known = std::isfinite(v);
    double at = known ? kTop + kHeight * (1 - (std::clamp(v, y.lo, y.hi) - y.lo) / (y.hi - y.lo)) : kTop + kHeight - 24;
    double base = known ? zero : kTop + kHeight;
    MixerKind kind = b.labels.kinds.size() == n ? b.labels.kinds[i] : MixerKind::kNone;
    std::string cls = !known ? "na" : kind == MixerKind::kSoftmax ? "ks" : kind == MixerKind::kRecurrent ? "kr" : "ba";
    std::string name = own ? b.labels.labels[i] : std::to_string(i);
    if (b.labels.tokens && own) name = visible_blanks(name);
    out += "<rect class=\"" + cls + "\" x=\"" + coordinate(x + inset) + "\" y=\"" + coordinate(std::min(at, base)) +
           "\" width=\"" + coordinate(slot - 2 * inset) + "\" height=\"" + coordinate(std::fabs(base - at)) +
           "\"><title>" + escape(b.axis + " " + shorten(name, 24) + ": " + (known ? number(v, 4) : "no value")) +
           "</title></rect>";
    if (i % step != 0) continue;
    double lx = x + slot / 2, ly = kTop + kHeight + (upright ? 6 : 14);
    std::string turn = upright ? " transform=\"rotate(-90 " + coordinate(lx + 3.5) + " " + coordinate(ly) + ")\"" : "";
    std::string look = std::string(upright ? "tr" : "tm") + (b.labels.tokens ? " tt" : "");
    out += label(look.c_str(), upright ? lx + 3.5 : lx, ly, shorten(name, 14), turn);
  }
  out += "<path class=\"axl\" d=\"M" + coordinate(kLeft) + " " + coordinate(zero) + "h" + coordinate(width) + "\"/>";
  return out + label("axm", kLeft + width / 2, kTop + kHeight + below + 14, b.axis) + "</svg>";
}

}  // namespace microtome::report
