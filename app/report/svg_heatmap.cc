#include "app/report/svg_heatmap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "app/report/html.h"

namespace microtome::report {
namespace {

using Rgb = std::array<double, 3>;

// matplotlib's viridis at nine even points.
constexpr std::array<Rgb, 9> kViridis = {{{68, 1, 84},
                                          {71, 45, 123},
                                          {59, 82, 139},
                                          {44, 114, 142},
                                          {33, 145, 140},
                                          {40, 174, 128},
                                          {94, 201, 98},
                                          {173, 220, 48},
                                          {253, 231, 37}}};
// ColorBrewer RdBu with a pure white centre: safe for the common colour-vision deficiencies.
constexpr std::array<Rgb, 11> kRedBlue = {{{103, 0, 31},
                                           {178, 24, 43},
                                           {214, 96, 77},
                                           {244, 165, 130},
                                           {253, 219, 199},
                                           {255, 255, 255},
                                           {209, 229, 240},
                                           {146, 197, 222},
                                           {67, 147, 195},
                                           {33, 102, 172},
                                           {5, 48, 97}}};

template <size_t N>
Rgb blend(const std::array<Rgb, N>& stops, double t) {
  double x = std::clamp(t, 0.0, 1.0) * (N - 1);
  size_t i = std::min<size_t>(static_cast<size_t>(x), N - 2);
  Rgb out;
  for (int k = 0; k < 3; ++k) out[k] = stops[i][k] + (stops[i + 1][k] - stops[i][k]) * (x - static_cast<double>(i));
  return out;
}

Rgb ramp_rgb(Ramp ramp, int level) {
  double t = static_cast<double>(level) / kRampSteps;
  return ramp == Ramp::kDiverging ? blend(kRedBlue, t) : blend(kViridis, t);
}

std::string level_class(const ColourScale& scale, double v) {
  return (scale.ramp == Ramp::kDiverging ? "d" : "s") + std::to_string(ramp_level(scale, v));
}

struct Labels {
  std::vector<std::string> text;  // "" where a label is left out for room
  int widest = 0;                 // in letters
};

// Labels of an axis with at most `room` of them shown, evenly.
Labels shown_labels(const HeatmapAxis& axis, int64_t n, int64_t room) {
  Labels out;
  out.text.resize(n);
  int64_t step = std::max<int64_t>(1, (n + room - 1) / std::max<int64_t>(room, 1));
  bool own = axis.labels.size() == static_cast<size_t>(n);
  for (int64_t i = 0; i < n; i += step) {
    std::string s = own ? axis.labels[i] : std::to_string(i);
    out.text[i] = shorten(axis.tokens && own ? visible_blanks(s) : s, 14);
    out.widest = std::max(out.widest, text_cells(out.text[i]));
  }
  return out;
}

std::string index_text(const HeatmapAxis& axis, int64_t n, int64_t i) {
  std::string s = axis.name + " ";
  if (axis.labels.size() != static_cast<size_t>(n)) return s + std::to_string(i);
  if (axis.tokens)
    return s + std::to_string(i) + " \xE2\x80\x9C" + shorten(visible_blanks(axis.labels[i]), 24) + "\xE2\x80\x9D";
  return s + shorten(axis.labels[i], 24);
}

bool skipped(const Heatmap& m, int64_t r, int64_t c) { return m.causal && c > r; }

std::string rect(const std::string& cls, double x, double y, double w, double h) {
  return "<rect class=\"" + cls + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" width=\"" +
         coordinate(w) + "\" height=\"" + coordinate(h) + "\"";
}

std::string text(const std::string& cls, double x, double y, const std::string& words, const std::string& more = {}) {
  return "<text class=\"" + cls + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\"" + more + ">" +
         escape(words) + "</text>";
}

// One rectangle a cell, with hover text.
std::string cell_rects(const Heatmap& m, double w, double h) {
  std::string out;
  for (int64_t r = 0; r < m.n_rows; ++r) {
    for (int64_t c = 0; c < m.n_cols; ++c) {
      if (skipped(m, r, c)) continue;
      double v = m.values[r * m.n_cols + c];
      bool known = std::isfinite(v);
      out += rect(known ? level_class(m.scale, v) : "na", c * w, r * h, w, h);
      std::string value =
          known ? number(v) + (m.unit.empty() ? "" : " " + m.unit) : number(v) + (std::isnan(v) ? " " + m.missing : "");
      out += "><title>" +
             escape(index_text(m.rows, m.n_rows, r) + ", " + index_text(m.cols, m.n_cols, c) + ": " + value) +
             "</title></rect>";
    }
  }
  return out;
}

// Runs of equal colour as one path a colour: an order of magnitude smaller, no hover text. Unit cells.
std::string cell_paths(const Heatmap& m) {
  std::map<std::string, std::string> by_class;
  for (int64_t r = 0; r < m.n_rows; ++r) {
    for (int64_t c = 0; c < m.n_cols;) {
      if (skipped(m, r, c)) break;
      auto cls = [&](int64_t k) {
        double v = m.values[r * m.n_cols + k];
        return std::isfinite(v) ? level_class(m.scale, v) : std::string("na1");
      };
      std::string here = cls(c);
      int64_t end = c + 1;
      while (end < m.n_cols && !skipped(m, r, end) && cls(end) == here) ++end;
      std::string n = std::to_string(end - c);
      by_class[here] += "M" + std::to_string(c) + " " + std::to_string(r) + "h" + n + "v1h-" + n + "z";
      c = end;
    }
  }
  std::string out;
  for (const auto& [cls, d] : by_class) out += "<path class=\"" + cls + "\" d=\"" + d + "\"/>";
  return out;
}

std::string cell_values(const Heatmap& m, double w, double h) {
  std::vector<double> shown;
  for (double v : m.values) shown.push_back(v);
  int decimals = common_decimals(shown);
  if (decimals > 2) decimals = 2;
  std::string out;
  for (int64_t r = 0; r < m.n_rows; ++r) {
    for (int64_t c = 0; c < m.n_cols; ++c) {
      double v = m.values[r * m.n_cols + c];
      if (!std::isfinite(v) || skipped(m, r, c)) continue;
      std::string s = decimals < 0 ? number(v, 2) : fixed_number(v, decimals);
      if (text_cells(s) > 6) s = number(v, 1);
      bool light = ramp_is_light(m.scale.ramp, ramp_level(m.scale, v));
      out += text(light ? "vd" : "vl", (c + 0.5) * w, (r + 0.5) * h + 3.5, s);
    }
  }
  return out;
}

std::string colour_bar(const ColourScale& s, double x, double y, double height, const std::string& unit) {
  std::string fill = s.ramp == Ramp::kDiverging ? "url(#mt-div)" : "url(#mt-seq)";
  std::string out = "<rect class=\"fr\" style=\"fill:" + fill + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) +
                    "\" width=\"10\" height=\"" + coordinate(height) + "\"/>";
  std::vector<double> ticks =
      height >= 72 ? std::vector<double>{s.hi, (s.hi + s.lo) / 2, s.lo} : std::vector<double>{s.hi, s.lo};
  for (size_t i = 0; i < ticks.size(); ++i) {
    double at = y + height * static_cast<double>(i) / static_cast<double>(ticks.size() - 1);
    out += text("tk", x + 15, at + (i == 0 ? 7 : i + 1 == ticks.size() ? 0 : 3.5), number(ticks[i], 2));
  }
  if (!unit.empty()) out += text("ax", x, y - 7, shorten(unit, 10));
  return out;
}

std::string open_svg(double w, double h, const std::string& label) {
  return "<svg role=\"img\" width=\"" + coordinate(w) + "\" height=\"" + coordinate(h) + "\" viewBox=\"0 0 " +
         coordinate(w) + " " + coordinate(h) + "\" aria-label=\"" + escape(label) + "\">";
}

std::string kind_mark(MixerKind k, double x, double y) {
  if (k == MixerKind::kNone) return {};
  return rect(k == MixerKind::kSoftmax ? "ks" : "kr", x, y - 4, 4, 8) + "/>";
}

}  // namespace

int ramp_level(const ColourScale& scale, double value) {
  double width = scale.hi - scale.lo;
  if (!(width > 0) || !std::isfinite(width)) return scale.ramp == Ramp::kDiverging ? kRampSteps / 2 : 0;
  return static_cast<int>(std::lround(std::clamp((value - scale.lo) / width, 0.0, 1.0) * kRampSteps));
}

std::string ramp_colour(Ramp ramp, int level) {
  Rgb c = ramp_rgb(ramp, level);
  char buffer[8];
  std::snprintf(buffer, sizeof buffer, "#%02x%02x%02x", static_cast<int>(c[0] + 0.5), static_cast<int>(c[1] + 0.5),
                static_cast<int>(c[2] + 0.5));
  return buffer;
}

bool ramp_is_light(Ramp ramp, int level) {
  Rgb c = ramp_rgb(ramp, level);
  return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] > 140;
}

ColourScale scale_of(Ramp ramp, const std::vector<double>& values) {
  double lo = 0, hi = 0;
  for (double v : values) {
    if (!std::isfinite(v)) continue;
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (ramp == Ramp::kDiverging) {
    double m = std::max(-lo, hi);
    if (m <= 0) m = 1;
    return {ramp, -m, m};
  }
  if (hi <= lo) hi = lo + 1;
  return {ramp, lo, hi};
}

bool pool_heatmap(Heatmap& m, int64_t limit) {
  if (m.n_rows <= limit && m.n_cols <= limit) return false;
  int64_t br = (m.n_rows + limit - 1) / limit, bc = (m.n_cols + limit - 1) / limit;
  int64_t rows = (m.n_rows + br - 1) / br, cols = (m.n_cols + bc - 1) / bc;
  std::vector<double> pooled(rows * cols, std::nan(""));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0, extreme = 0;
      int64_t n = 0;
      for (int64_t i = r * br; i < std::min((r + 1) * br, m.n_rows); ++i) {
        for (int64_t j = c * bc; j < std::min((c + 1) * bc, m.n_cols); ++j) {
          double v = m.values[i * m.n_cols + j];
          if (!std::isfinite(v)) continue;
          sum += v;
          ++n;
          if (std::fabs(v) > std::fabs(extreme)) extreme = v;
        }
      }
      if (n > 0) pooled[r * cols + c] = m.scale.ramp == Ramp::kDiverging ? extreme : sum / static_cast<double>(n);
    }
  }
  auto thin = [](HeatmapAxis& axis, int64_t n, int64_t block, int64_t left) {
    std::vector<std::string> labels;
    std::vector<MixerKind> kinds;
    for (int64_t i = 0; i < left; ++i) {
      bool own = axis.labels.size() == static_cast<size_t>(n);
      labels.push_back(own ? axis.labels[i * block] : std::to_string(i * block));
      if (axis.kinds.size() == static_cast<size_t>(n)) kinds.push_back(axis.kinds[i * block]);
    }
    axis.labels = std::move(labels);
    axis.kinds = std::move(kinds);
    axis.group = block == 1 ? axis.group : 0;
  };
  thin(m.rows, m.n_rows, br, rows);
  thin(m.cols, m.n_cols, bc, cols);
  m.values = std::move(pooled);
  m.causal = m.causal && br == bc;
  m.n_rows = rows;
  m.n_cols = cols;
  return true;
}

std::string heatmap_svg(const Heatmap& m) {
  if (m.n_rows <= 0 || m.n_cols <= 0) return {};
  bool in_cell = m.n_cols <= 12 && m.n_rows <= 32 && m.cell == 0;
  double w = in_cell ? 44 : std::clamp(440.0 / static_cast<double>(m.n_cols), 7.0, 28.0);
  if (m.cell > 0) w = m.cell;
  double h = in_cell ? 26 : std::clamp(400.0 / static_cast<double>(m.n_rows), 7.0, 22.0);
  if (m.cell > 0) h = m.cell;
  double width = w * static_cast<double>(m.n_cols), height = h * static_cast<double>(m.n_rows);

  constexpr double kLetter = 6.1;
  Labels row_text = shown_labels(m.rows, m.n_rows, static_cast<int64_t>(height / 9.4));
  Labels col_text = shown_labels(m.cols, m.n_cols, static_cast<int64_t>(width / 9.4));
  bool upright = col_text.widest * kLetter > w - 4;
  if (upright && m.cols.labels.size() != static_cast<size_t>(m.n_cols)) {
    col_text = shown_labels(m.cols, m.n_cols, static_cast<int64_t>(width / (kLetter * col_text.widest + 10)));
    upright = false;  // plain indices: fewer of them, level
  }
  bool row_marks = m.rows.kinds.size() == static_cast<size_t>(m.n_rows);
  bool col_marks = m.cols.kinds.size() == static_cast<size_t>(m.n_cols);
  double left = 22 + row_text.widest * kLetter + (row_marks ? 10 : 4);
  double top = m.bar && !m.unit.empty() ? 18 : 6;
  double below = (upright ? col_text.widest * kLetter + 8 : 14) + (col_marks ? 8 : 0);
  double bar = m.bar ? 54 : 4;
  double total_w = left + width + bar, total_h = top + std::max(height, m.bar ? 56.0 : 0.0) + below + 18;

  std::string out = open_svg(total_w, total_h, m.label + ", " + m.rows.name + " by " + m.cols.name);
  out += "<g transform=\"translate(" + coordinate(left) + " " + coordinate(top) + ")\">";
  bool rects = m.hover && m.n_rows * m.n_cols <= 1600;
  if (rects) {
    out += "<g class=\"px\">" + cell_rects(m, w, h) + "</g>";
  } else {
    out += "<g class=\"px\" transform=\"scale(" + coordinate(w) + " " + coordinate(h) + ")\">" + cell_paths(m) + "</g>";
  }
  if (in_cell) out += cell_values(m, w, h);
  for (int64_t r = m.rows.group; m.rows.group > 0 && r < m.n_rows; r += m.rows.group) {
    out += "<path class=\"gl\" d=\"M0 " + coordinate(r * h) + "h" + coordinate(width) + "\"/>";
  }
  for (int64_t c = m.cols.group; m.cols.group > 0 && c < m.n_cols; c += m.cols.group) {
    out += "<path class=\"gl\" d=\"M" + coordinate(c * w) + " 0v" + coordinate(height) + "\"/>";
  }
  out += rect("fr", 0, 0, width, height) + "/>";
  for (int64_t r = 0; r < m.n_rows; ++r) {
    double y = (r + 0.5) * h;
    if (row_marks) out += kind_mark(m.rows.kinds[r], -7, y);
    if (!row_text.text[r].empty())
      out += text(m.rows.tokens ? "tr tt" : "tr", row_marks ? -11 : -5, y + 3.5, row_text.text[r]);
  }
  for (int64_t c = 0; c < m.n_cols; ++c) {
    double x = (c + 0.5) * w, y = height + 4;
    if (col_marks) {
      std::string mark = rect(m.cols.kinds[c] == MixerKind::kSoftmax ? "ks" : "kr", x - 4, y, 8, 4) + "/>";
      if (m.cols.kinds[c] != MixerKind::kNone) out += mark;
      y += 8;
    }
    if (col_text.text[c].empty()) continue;
    if (upright) {
      std::string turn = " transform=\"rotate(-90 " + coordinate(x + 3.5) + " " + coordinate(y) + ")\"";
      out += text(m.cols.tokens ? "tr tt" : "tr", x + 3.5, y, col_text.text[c], turn);
    } else {
      out += text(m.cols.tokens ? "tm tt" : "tm", x, y + 8, col_text.text[c]);
    }
  }
  out += text("axm", width / 2, height + below + 12, m.cols.name);
  double ax = 12 - left;
  out += text("axm", ax, height / 2, m.rows.name,
              " transform=\"rotate(-90 " + coordinate(ax) + " " + coordinate(height / 2) + ")\"");
  if (m.bar) out += colour_bar(m.scale, width + 12, 0, std::max(height, 56.0), m.unit);
  return out + "</g></svg>";
}

std::string heatmap_grid_svg(const HeatmapGrid& g) {
  if (g.maps.empty() || g.n_cols <= 0) return {};
  int64_t n = static_cast<int64_t>(g.maps.size()), rows = (n + g.n_cols - 1) / g.n_cols;
  const Heatmap& first = g.maps.front();
  double longest = static_cast<double>(std::max<int64_t>({first.n_rows, first.n_cols, 1}));
  double w = g.side * static_cast<double>(first.n_cols) / longest,
         h = g.side * static_cast<double>(first.n_rows) / longest;
  constexpr double kGap = 8, kLetter = 6.1;
  Labels row_text = shown_labels(g.rows, rows, rows), col_text = shown_labels(g.cols, g.n_cols, g.n_cols);
  double left = 22 + row_text.widest * kLetter + 10, top = first.unit.empty() ? 6 : 18;
  double width = (w + kGap) * static_cast<double>(g.n_cols) - kGap,
         height = (h + kGap) * static_cast<double>(rows) - kGap;
  std::string out = open_svg(left + width + 66, top + height + 34, g.label);
  out += "<g transform=\"translate(" + coordinate(left) + " " + coordinate(top) + ")\">";
  for (int64_t i = 0; i < n; ++i) {
    const Heatmap& m = g.maps[i];
    if (m.n_rows <= 0 || m.n_cols <= 0) continue;
    double x = (w + kGap) * static_cast<double>(i % g.n_cols), y = (h + kGap) * static_cast<double>(i / g.n_cols);
    out += "<g transform=\"translate(" + coordinate(x) + " " + coordinate(y) + ")\"><title>" + escape(m.label) +
           "</title>" + rect("bg", 0, 0, w, h) + "/>" + "<g class=\"px\" transform=\"scale(" +
           coordinate(w / static_cast<double>(m.n_cols)) + " " + coordinate(h / static_cast<double>(m.n_rows)) +
           ")\">" + cell_paths(m) + "</g></g>";
  }
  for (int64_t r = 0; r < rows; ++r) {
    double y = (h + kGap) * static_cast<double>(r) + h / 2;
    if (g.rows.kinds.size() == static_cast<size_t>(rows)) out += kind_mark(g.rows.kinds[r], -7, y);
    out += text("tr", -11, y + 3.5, row_text.text[r]);
  }
  for (int64_t c = 0; c < g.n_cols; ++c) {
    out += text("tm", (w + kGap) * static_cast<double>(c) + w / 2, height + 13, col_text.text[c]);
  }
  double ax = 12 - left;
  out += text("axm", ax, height / 2, g.rows.name,
              " transform=\"rotate(-90 " + coordinate(ax) + " " + coordinate(height / 2) + ")\"");
  out += text("axm", width / 2, height + 28, g.cols.name);
  return out + colour_bar(first.scale, width + 14, 0, std::max(48.0, std::min(height, 240.0)), first.unit) +
         "</g></svg>";
}

std::string svg_definitions() {
  std::string out = "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>";
  for (Ramp ramp : {Ramp::kSequential, Ramp::kDiverging}) {
    bool diverging = ramp == Ramp::kDiverging;
    out += std::string("<linearGradient id=\"") + (diverging ? "mt-div" : "mt-seq") +
           "\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">";
    for (int i = 0; i <= 16; ++i) {
      out += "<stop offset=\"" + coordinate(i / 16.0) + "\" stop-color=\"" + ramp_colour(ramp, i * kRampSteps / 16) +
             "\"/>";
    }
    out += "</linearGradient>";
  }
  for (const char* id : {"mt-hatch", "mt-hatch1"}) {
    // The second is for maps drawn in unit cells and scaled up.
    bool unit = std::string(id) == "mt-hatch1";
    out += std::string("<pattern id=\"") + id + "\" patternUnits=\"userSpaceOnUse\" width=\"" + (unit ? ".5" : "5") +
           "\" height=\"" + (unit ? ".5" : "5") + "\" patternTransform=\"rotate(45)\"><rect class=\"h0\" width=\"5\" " +
           "height=\"5\"/><rect class=\"h1\" width=\"" + (unit ? ".15" : "1.5") + "\" height=\"5\"/></pattern>";
  }
  return out + "</defs></svg>";
}

}  // namespace microtome::report
