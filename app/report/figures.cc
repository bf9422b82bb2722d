// Tensor maps: arrays as heat maps, bars, panels and attention pictures, a panel a model.
#include <algorithm>
#include <cmath>

#include "app/report/artifact_html.h"
#include "app/report/html.h"
#include "app/report/svg_chart.h"

namespace microtome::report {
namespace {

constexpr size_t kHoverBudget = size_t{2500} << 10;  // bytes of figures after which maps lose their hover text

struct Panel {
  const RunColumn* column;
  const NamedArray* array;
  ArrayView view;
};

const NamedArray* find_array(const TensorMap& map, const std::string& name) {
  for (const NamedArray& a : map.arrays) {
    if (a.name == name) return &a;
  }
  return nullptr;
}

std::vector<double> all_values(const ArrayView& v) {
  std::vector<double> out = v.numbers;
  for (const Heatmap& m : v.maps) {
    for (int64_t i = 0; i < static_cast<int64_t>(m.values.size()); ++i) {
      if (m.causal && m.n_cols > 0 && i % m.n_cols > i / m.n_cols) continue;
      out.push_back(m.values[i]);
    }
  }
  return out;
}

// One scale for all panels; a model whose numbers would vanish on it gets its own, and the caption says so.
void set_scales(std::vector<Panel>& panels, bool pattern, std::vector<std::string>& notes) {
  Ramp ramp = Ramp::kSequential;
  for (const Panel& p : panels) {
    if (p.view.ramp == Ramp::kDiverging) ramp = Ramp::kDiverging;
  }
  std::vector<ColourScale> own;
  ColourScale shared{ramp, 0, 0};
  double smallest = 0, largest = 0;
  for (const Panel& p : panels) {
    own.push_back(scale_of(ramp, all_values(p.view)));
    shared.lo = std::min(shared.lo, own.back().lo);
    shared.hi = std::max(shared.hi, own.back().hi);
    double size = std::max(std::fabs(own.back().lo), std::fabs(own.back().hi));
    smallest = own.size() == 1 ? size : std::min(smallest, size);
    largest = std::max(largest, size);
  }
  double limit = pattern ? 4 : 20;
  bool apart = panels.size() > 1 && largest > limit * smallest;
  if (apart)
    notes.push_back("The models' ranges differ more than " + number(limit) + "-fold: each has its own colour scale.");
  for (size_t i = 0; i < panels.size(); ++i) {
    for (Heatmap& m : panels[i].view.maps) m.scale = apart ? own[i] : shared;
  }
}

std::string pool_note(const Heatmap& before, const Heatmap& after) {
  return count(before.n_rows) + " \xC3\x97 " + count(before.n_cols) + " cells are drawn as " + count(after.n_rows) +
         " \xC3\x97 " + count(after.n_cols) +
         (after.scale.ramp == Ramp::kDiverging ? " (of each block the value of largest size)." : " (block means).");
}

std::string draw(Heatmap m, int64_t limit, RenderState& state, std::vector<std::string>& notes) {
  Heatmap before = m;
  before.values.clear();
  if (pool_heatmap(m, limit)) notes.push_back(pool_note(before, m));
  // Hover text on every cell of a large map would be most of the page.
  m.hover = state.written < kHoverBudget && m.n_rows * m.n_cols <= 1024;
  std::string svg = heatmap_svg(m);
  state.written += svg.size();
  return svg;
}

std::string pattern_panel(Panel& p, bool several, RenderState& state, std::vector<std::string>& notes) {
  std::string out;
  ArrayView& v = p.view;
  if (v.grid_columns > 0) {
    HeatmapGrid grid;
    grid.n_cols = v.grid_columns;
    grid.rows = v.grid_rows;
    grid.cols = v.grid_cols;
    grid.label = p.array->name + " of every head";
    grid.side = std::clamp(470.0 / static_cast<double>(v.grid_columns) - 8, 24.0, 84.0);
    int64_t limit =
        std::clamp<int64_t>(static_cast<int64_t>(std::sqrt(40000.0 / static_cast<double>(v.maps.size()))), 8, 64);
    grid.maps = v.maps;
    for (Heatmap& m : grid.maps) {
      Heatmap before = m;
      before.values.clear();
      if (pool_heatmap(m, limit) && &m == &grid.maps.front()) notes.push_back("Small maps: " + pool_note(before, m));
    }
    std::string svg = heatmap_grid_svg(grid);
    state.written += svg.size();
    out += svg;
  }
  out += "<div class=\"big\">";
  for (size_t i = 0; i < v.chosen.size(); ++i) {
    Heatmap m = v.maps[v.chosen[i]];
    m.bar = v.grid_columns == 0 && i + 1 == v.chosen.size();
    int64_t longest = std::min<int64_t>(64, std::max(m.n_rows, m.n_cols));
    m.cell = std::clamp((several ? 200.0 : 280.0) / static_cast<double>(longest), 3.5, 18.0);
    out += "<div class=\"panel\"><p class=\"cap\">" + escape(v.chosen_labels[i]) + "</p>" + draw(m, 64, state, notes) +
           "</div>";
  }
  return out + "</div>";
}

std::string panel_html(Panel& p, Range y, bool several, RenderState& state, std::vector<std::string>& notes) {
  ArrayView& v = p.view;
  switch (v.kind) {
    case ArrayView::Kind::kBroken:
      return {};
    case ArrayView::Kind::kNumber:
      return "<p>" + number(v.numbers.front(), 4) + " " + escape(p.array->unit) + "</p>";
    case ArrayView::Kind::kBars: {
      std::string svg =
          bar_chart({v.bars.name, shorten(p.array->unit, 24), shorten(p.array->name, 40), v.bars, v.numbers, y});
      state.written += svg.size();
      return svg;
    }
    case ArrayView::Kind::kMap:
      return draw(v.maps.front(), 64, state, notes);
    case ArrayView::Kind::kPanels: {
      std::string out = "<div class=\"big\">";
      for (size_t i = 0; i < v.maps.size(); ++i) {
        Heatmap m = v.maps[i];
        int64_t longest = std::min<int64_t>(64, std::max(m.n_rows, m.n_cols));
        m.cell = std::clamp(200.0 / static_cast<double>(longest), 3.0, 18.0);
        m.bar = i + 1 == v.maps.size();
        out += "<div class=\"panel\"><p class=\"cap\">" + escape(m.label) + "</p>" +
               draw(m, v.maps.size() > 6 ? 32 : 64, state, notes) + "</div>";
      }
      return out + "</div>";
    }
    case ArrayView::Kind::kPattern:
      return pattern_panel(p, several, state, notes);
  }
  return {};
}

std::string caption(const std::string& name, const NamedArray& array, const std::vector<std::string>& notes) {
  std::string axes;
  for (size_t i = 0; i < array.axes.size(); ++i) {
    axes += (i ? ", " : "") + array.axes[i] + (i < array.shape.size() ? " " + std::to_string(array.shape[i]) : "");
  }
  std::string out = "<figcaption><b>" + escape(shorten(name, 80)) + "</b>";
  if (!array.unit.empty()) out += " <span class=\"unit\">" + escape(shorten(array.unit, 40)) + "</span>";
  if (!axes.empty()) out += " <span class=\"unit\">[" + escape(shorten(axes, 120)) + "]</span>";
  if (!array.help.empty()) out += " " + escape(shorten(array.help, 600)) + (array.help.back() == '.' ? "" : ".");
  std::vector<std::string> said;
  for (const std::string& n : notes) {
    if (std::find(said.begin(), said.end(), n) != said.end()) continue;
    said.push_back(n);
    out += " " + escape(n);
  }
  return out + "</figcaption>";
}

// Notes of all panels; one that only some have names its model.
std::vector<std::string> gather_notes(const std::vector<Panel>& panels) {
  std::vector<std::string> out;
  for (const Panel& p : panels) {
    for (const std::string& n : p.view.notes) {
      bool all = std::all_of(panels.begin(), panels.end(), [&](const Panel& o) {
        return std::find(o.view.notes.begin(), o.view.notes.end(), n) != o.view.notes.end();
      });
      out.push_back(all ? n : p.column->label + ": " + n);
    }
  }
  return out;
}

std::string figure(const std::string& name, std::vector<Panel>& panels, bool several, RenderState& state) {
  std::vector<std::string> notes = gather_notes(panels), drawing;
  bool pattern = std::any_of(panels.begin(), panels.end(),
                             [](const Panel& p) { return p.view.kind == ArrayView::Kind::kPattern; });
  bool looks_pattern = pattern || (!panels.empty() && panels.front().array->name == "pattern");
  set_scales(panels, looks_pattern, notes);
  Series range;
  for (const Panel& p : panels) range.lines.push_back({"", {}, p.view.numbers});
  Range y = y_range(range);
  std::string body;
  for (Panel& p : panels) {
    body += "<div class=\"panel\">" + (several ? who(*p.column, *state.index) : std::string()) +
            panel_html(p, y, several, state, drawing) + "</div>";
  }
  notes.insert(notes.end(), drawing.begin(), drawing.end());
  return (pattern ? "<figure class=\"wide\">" : "<figure>") + caption(name, *panels.front().array, notes) +
         "<div class=\"" + (pattern ? "cols" : "panels") + "\">" + body + "</div></figure>";
}

}  // namespace

std::string tensors_html(const ArtifactRow& row, RenderState& state) {
  std::vector<std::string> names;
  for (const Artifact* a : row.artifacts) {
    if (!a) continue;
    for (const NamedArray& array : std::get<TensorMap>(*a).arrays) {
      if (std::find(names.begin(), names.end(), array.name) == names.end() && names.size() < 200)
        names.push_back(array.name);
    }
  }
  if (names.empty()) return "<p class=\"note\">No arrays.</p>";
  bool several = row.columns.size() > 1;
  std::string out = "<div class=\"figs\">";
  for (const std::string& name : names) {
    std::vector<Panel> panels;
    for (size_t i = 0; i < row.columns.size(); ++i) {
      if (!row.artifacts[i]) continue;
      const TensorMap& map = std::get<TensorMap>(*row.artifacts[i]);
      const NamedArray* array = find_array(map, name);
      if (!array) continue;
      const RunColumn& column = *row.columns[i];
      ViewContext context{&state.index->models[column.model], first_prompt_tokens(*column.run),
                          &state.heads[column.model]};
      panels.push_back({&column, array, view_array(*array, map, context)});
    }
    out += figure(name, panels, several, state);
  }
  return out + "</div>";
}

}  // namespace microtome::report
