#include "app/report/array_view.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "app/report/html.h"

namespace microtome::report {
namespace {

constexpr int64_t kCompositeRows = 64, kMaxPanels = 24, kGridMaps = 256, kMapCells = int64_t{1} << 22;
constexpr size_t kEnlarged = 6;

bool is_position(const std::string& axis) { return axis == "pos" || axis == "q_pos" || axis == "k_pos"; }
bool is_prompt(const std::string& axis) { return axis == "prompt" || axis == "batch" || axis == "item"; }

class Planner {
 public:
  Planner(const NamedArray& array, const TensorMap& map, const ViewContext& context)
      : array_(array), map_(map), context_(context) {}

  ArrayView run() {
    ArraySlice slice;
    std::string why;
    if (!ArraySlice::make(array_, slice, why)) {
      view_.notes.push_back("Not drawn: " + why + ".");
      return view_;
    }
    reduce_prompts(slice);
    if (slice.cells() > kMapCells && slice.rank() <= 2) {
      view_.notes.push_back("Not drawn: " + count(slice.cells()) + " cells are too many for a page.");
      return view_;
    }
    if (slice.rank() == 0) {
      view_.kind = ArrayView::Kind::kNumber;
      view_.numbers = slice.values();
    } else if (slice.rank() == 1) {
      line(slice);
    } else if (!pattern(slice)) {
      maps(slice);
    }
    finish();
    return view_;
  }

 private:
  // Positions of different prompts hold different tokens, so with a position axis one prompt is shown; else the mean.
  void reduce_prompts(ArraySlice& slice) {
    bool has_pos = std::any_of(slice.axes().begin(), slice.axes().end(), is_position);
    for (int i = 0; i < slice.rank() && slice.rank() > 1; ++i) {
      if (!is_prompt(slice.axes()[i])) continue;
      int64_t n = slice.shape()[i];
      if (has_pos || slice.cells() > kMapCells) {
        if (n > 1) view_.notes.push_back("The first of " + std::to_string(n) + " prompts is shown.");
        slice = slice.cut(i, 0);
      } else {
        if (n > 1) view_.notes.push_back("Mean over " + std::to_string(n) + " prompts.");
        ArraySlice rest = slice.cut(i, 0);
        mean_.axes = rest.axes();
        mean_.shape = rest.shape();
        mean_.data = slice.mean_over(i);
        std::string why;
        ArraySlice::make(mean_, slice, why);
      }
      return;
    }
  }

  HeatmapAxis axis(const std::string& name, int64_t n) {
    HeatmapAxis out;
    out.name = name;
    auto it = map_.axis_labels.find(name);
    bool borrowed = it == map_.axis_labels.end() && is_position(name);
    if (borrowed) it = map_.axis_labels.find("pos");
    if (it != map_.axis_labels.end() && it->second.size() == static_cast<size_t>(n)) {
      out.labels = it->second;
      out.tokens = is_position(name);
    } else if (is_position(name) && context_.tokens.size() == static_cast<size_t>(n)) {
      out.labels = context_.tokens;
      out.tokens = true;
    }
    if (it != map_.axis_labels.end() && !borrowed && it->second.size() != static_cast<size_t>(n)) {
      note("Labels of axis " + name + " are left out: " + std::to_string(it->second.size()) + " labels for " +
           std::to_string(n) + " indices.");
    }
    if (name == "layer" && context_.model && !context_.model->layers.empty()) {
      int64_t layers = static_cast<int64_t>(context_.model->layers.size());
      if (n == layers || n == layers + 1) {
        for (int64_t i = 0; i < n; ++i) out.kinds.push_back(context_.model->kind(i));
        if (n == layers + 1 && out.labels.empty()) {
          for (int64_t i = 0; i < layers; ++i) out.labels.push_back(std::to_string(i));
          out.labels.push_back("out");
        }
      }
    }
    return out;
  }

  // Layers and heads as one axis: "2.3" is head 3 of layer 2.
  HeatmapAxis composite(int64_t layers, int64_t heads) {
    HeatmapAxis l = axis("layer", layers), h = axis("head", heads), out;
    out.name = "layer.head";
    out.group = static_cast<int>(heads);
    for (int64_t i = 0; i < layers; ++i) {
      for (int64_t k = 0; k < heads; ++k) {
        out.labels.push_back((l.labels.empty() ? std::to_string(i) : l.labels[i]) + "." +
                             (h.labels.empty() ? std::to_string(k) : h.labels[k]));
        if (!l.kinds.empty()) out.kinds.push_back(l.kinds[i]);
      }
    }
    return out;
  }

  void note(const std::string& s) {
    if (std::find(view_.notes.begin(), view_.notes.end(), s) == view_.notes.end()) view_.notes.push_back(s);
  }

  Heatmap make_map(HeatmapAxis rows, HeatmapAxis cols, int64_t n_rows, int64_t n_cols, std::vector<double> values) {
    Heatmap m;
    m.rows = std::move(rows);
    m.cols = std::move(cols);
    m.n_rows = n_rows;
    m.n_cols = n_cols;
    m.values = std::move(values);
    m.label = array_.name;
    m.unit = array_.unit;
    return m;
  }

  void line(const ArraySlice& slice) {
    int64_t n = slice.shape()[0];
    HeatmapAxis a = axis(slice.axes()[0], n);
    if (n > 64) {
      view_.kind = ArrayView::Kind::kMap;
      HeatmapAxis single;
      single.labels = {""};
      view_.maps.push_back(make_map(single, a, 1, n, slice.values()));
      return;
    }
    view_.kind = ArrayView::Kind::kBars;
    view_.bars = a;
    view_.numbers = slice.values();
  }

  void maps(const ArraySlice& slice) {
    int64_t rank = slice.rank();
    int l = slice.find("layer"), h = slice.find("head");
    const auto& n = slice.shape();
    if (rank == 4 && slice.axes() == std::vector<std::string>{"layer", "head", "layer", "head"} &&
        slice.cells() <= kMapCells) {
      view_.kind = ArrayView::Kind::kMap;
      view_.maps.push_back(
          make_map(composite(n[0], n[1]), composite(n[2], n[3]), n[0] * n[1], n[2] * n[3], slice.values()));
      return;
    }
    if (rank == 3 && l >= 0 && h >= 0 && n[l] * n[h] <= kCompositeRows) {
      int other = 3 - l - h;
      ArraySlice s = slice.order({l, h, other});
      view_.kind = ArrayView::Kind::kMap;
      view_.maps.push_back(
          make_map(composite(n[l], n[h]), axis(s.axes()[2], s.shape()[2]), n[l] * n[h], s.shape()[2], s.values()));
      return;
    }
    // Positions go across, layers down; what is left leads and becomes panels.
    std::vector<int> order(rank);
    for (int i = 0; i < rank; ++i) order[i] = i;
    std::stable_partition(order.begin(), order.end(), [&](int i) { return !is_position(slice.axes()[i]); });
    panels(slice.order(order));
  }

  void panels(const ArraySlice& s) {
    int64_t lead = 1;
    int lead_axes = static_cast<int>(s.rank()) - 2;
    for (int i = 0; i < lead_axes; ++i) lead *= s.shape()[i];
    int64_t rows = s.shape()[lead_axes], cols = s.shape()[lead_axes + 1];
    HeatmapAxis row_axis = axis(s.axes()[lead_axes], rows), col_axis = axis(s.axes()[lead_axes + 1], cols);
    view_.kind = lead_axes == 0 ? ArrayView::Kind::kMap : ArrayView::Kind::kPanels;
    if (rows * cols > kMapCells) {
      view_.kind = ArrayView::Kind::kBroken;
      return note("Not drawn: " + count(rows * cols) + " cells are too many for a page.");
    }
    int64_t shown = std::min({lead, kMaxPanels, std::max<int64_t>(1, kMapCells / (rows * cols))});
    if (lead > shown) note("The first " + std::to_string(shown) + " of " + std::to_string(lead) + " maps are shown.");
    for (int64_t p = 0; p < shown; ++p) {
      ArraySlice one = s;
      std::string name;
      int64_t rest = p, block = lead;
      for (int i = 0; i < lead_axes; ++i) {
        block /= s.shape()[i];
        int64_t k = rest / block;
        rest %= block;
        HeatmapAxis a = axis(s.axes()[i], s.shape()[i]);
        name += (name.empty() ? "" : ", ") + s.axes()[i] + " " +
                (a.labels.empty() ? std::to_string(k) : shorten(a.labels[k], 24));
        one = one.cut(0, k);
      }
      view_.maps.push_back(make_map(row_axis, col_axis, rows, cols, one.values()));
      if (!name.empty()) view_.maps.back().label = name;
    }
  }

  // Query × key maps: a grid of layers × heads, and the heads that matter enlarged.
  bool pattern(const ArraySlice& slice) {
    int q = slice.find("q_pos"), k = slice.find("k_pos");
    if (q < 0 || k < 0) return false;
    std::vector<int> order;
    for (int i = 0; i < slice.rank(); ++i) {
      if (i != q && i != k) order.push_back(i);
    }
    order.push_back(q);
    order.push_back(k);
    ArraySlice s = slice.order(order);
    if (s.rank() != 4 || s.axes()[0] != "layer" || s.axes()[1] != "head") return panels(s), mark_causal(), true;
    int64_t layers = s.shape()[0], heads = s.shape()[1];
    view_.kind = ArrayView::Kind::kPattern;
    view_.grid_rows = axis("layer", layers);
    view_.grid_cols = axis("head", heads);
    HeatmapAxis rows = axis("q_pos", s.shape()[2]), cols = axis("k_pos", s.shape()[3]);
    bool all = layers * heads <= kGridMaps && s.cells() <= kMapCells;
    HeadRanking own;
    const HeadRanking* ranking = context_.heads && !context_.heads->heads.empty() ? context_.heads : nullptr;
    if (!all && !ranking) {
      note(count(layers * heads) +
           " heads: the grid is left out, and nothing in these runs says which heads matter; the first are shown.");
    } else if (!all) {
      note(count(layers * heads) + " heads: the grid is left out.");
    }
    auto head_map = [&](int64_t l, int64_t h) {
      Heatmap m = make_map(rows, cols, s.shape()[2], s.shape()[3], s.cut(0, l).cut(0, h).values());
      m.label = "layer " + std::to_string(l) + " head " + std::to_string(h);
      return m;
    };
    if (all) {
      for (int64_t i = 0; i < layers * heads; ++i) view_.maps.push_back(head_map(i / heads, i % heads));
      if (!ranking) {
        own = rank_by_mass(heads);
        ranking = &own;
      }
    }
    view_.grid_columns = all ? heads : 0;
    std::vector<HeadRanking::Head> wanted;
    for (size_t i = 0; ranking && i < ranking->heads.size(); ++i) {
      const HeadRanking::Head& head = ranking->heads[i];
      bool here = head.layer >= 0 && head.layer < layers && head.head >= 0 && head.head < heads;
      // A head far weaker than the best is not one that matters, however short the list.
      bool weak = wanted.size() >= 2 && std::fabs(head.score) < 0.15 * std::fabs(ranking->heads.front().score);
      if (here && !weak && wanted.size() < kEnlarged) wanted.push_back(head);
    }
    for (int64_t i = 0; wanted.empty() && i < std::min<int64_t>(layers * heads, kEnlarged); ++i) {
      wanted.push_back({i / heads, i % heads, std::nan("")});
    }
    if (ranking && !ranking->reason.empty()) note("Enlarged heads: " + ranking->reason + ".");
    for (const auto& w : wanted) {
      if (!all) view_.maps.push_back(head_map(w.layer, w.head));
      view_.chosen.push_back(all ? static_cast<size_t>(w.layer * heads + w.head) : view_.maps.size() - 1);
      view_.chosen_labels.push_back("Layer " + std::to_string(w.layer) + ", head " + std::to_string(w.head) +
                                    (std::isfinite(w.score) ? ": " + number(w.score) : ""));
    }
    mark_causal();
    return true;
  }

  // Without other evidence: heads that look at something other than the first token and themselves.
  HeadRanking rank_by_mass(int64_t heads) const {
    HeadRanking out;
    for (size_t i = 0; i < view_.maps.size(); ++i) {
      const Heatmap& m = view_.maps[i];
      double sum = 0;
      for (int64_t r = 0; r < m.n_rows; ++r) {
        for (int64_t c = 1; c < m.n_cols; ++c) {
          double v = m.values[r * m.n_cols + c];
          if (c != r && std::isfinite(v)) sum += std::fabs(v);
        }
      }
      out.heads.push_back(
          {static_cast<int64_t>(i) / heads, static_cast<int64_t>(i) % heads, sum / static_cast<double>(m.n_rows)});
    }
    std::stable_sort(out.heads.begin(), out.heads.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
    out.reason = "most mass a query on tokens other than the first and itself";
    return out;
  }

  void mark_causal() {
    auto upper_empty = [](const Heatmap& m) {
      if (m.n_rows != m.n_cols) return false;
      for (int64_t r = 0; r < m.n_rows; ++r) {
        for (int64_t c = r + 1; c < m.n_cols; ++c) {
          double v = m.values[r * m.n_cols + c];
          if (!std::isnan(v) && v != 0) return false;
        }
      }
      return true;
    };
    if (view_.maps.empty() || !std::all_of(view_.maps.begin(), view_.maps.end(), upper_empty)) return;
    for (Heatmap& m : view_.maps) m.causal = true;
    note("Keys after the query are masked and left blank.");
  }

  void finish() {
    bool negative = false, missing = false;
    auto scan = [&](double v) {
      negative = negative || v < 0;
      missing = missing || !std::isfinite(v);
    };
    for (double v : view_.numbers) scan(v);
    bool positions = std::any_of(array_.axes.begin(), array_.axes.end(), is_position);
    std::string why =
        positions
            ? "no value: prompts are aligned at their ends, and this one has no such position, or it was not measured"
            : "no value: not measured or not defined here";
    for (Heatmap& m : view_.maps) {
      m.missing = why;
      for (int64_t r = 0; r < m.n_rows; ++r) {
        for (int64_t c = 0; c < m.n_cols; ++c) {
          if (!(m.causal && c > r)) scan(m.values[r * m.n_cols + c]);
        }
      }
    }
    auto look = map_.looks.find(array_.name);
    std::string wanted = look == map_.looks.end() ? "" : look->second;
    view_.ramp = wanted == "diverging" || (wanted != "sequential" && negative) ? Ramp::kDiverging : Ramp::kSequential;
    view_.has_missing = missing;
    if (missing) note("Hatched: " + why + ".");
  }

  const NamedArray& array_;
  const TensorMap& map_;
  const ViewContext& context_;
  NamedArray mean_;
  ArrayView view_;
};

// [layer, head] scores of an array that has these axes: prompts averaged, of positions the strongest.
std::vector<HeadRanking::Head> head_scores(const NamedArray& array) {
  ArraySlice s;
  std::string why;
  if (!ArraySlice::make(array, s, why) || s.cells() > kMapCells) return {};
  int l = s.find("layer"), h = s.find("head");
  if (l < 0 || h < 0 || s.rank() > 4 || s.find("q_pos") >= 0) return {};
  std::vector<int> order = {l, h};
  for (int i = 0; i < s.rank(); ++i) {
    if (i == l || i == h) continue;
    if (!is_prompt(s.axes()[i]) && !is_position(s.axes()[i])) return {};
    order.push_back(i);
  }
  s = s.order(order);
  int prompt = -1;
  for (int i = 2; i < s.rank(); ++i) prompt = is_prompt(s.axes()[i]) ? i : prompt;
  std::vector<double> v = prompt >= 0 ? s.mean_over(prompt) : s.values();
  int64_t heads = s.shape()[1], n = s.shape()[0] * heads, inner = static_cast<int64_t>(v.size()) / n;
  std::vector<HeadRanking::Head> out;
  for (int64_t i = 0; i < n; ++i) {
    double best = 0;
    for (int64_t k = 0; k < inner; ++k) {
      double x = v[i * inner + k];
      if (std::isfinite(x) && std::fabs(x) > std::fabs(best)) best = x;
    }
    out.push_back({i / heads, i % heads, best});
  }
  return out;
}

}  // namespace

HeadRanking rank_heads(const std::vector<ReportRun>& runs, const ReportIndex& index, size_t model) {
  // What was caused says more than what was read off; among equals the first run decides.
  constexpr std::array<const char*, 5> kEvidence = {"effect", "ablation_loss", "heads", "kl", "induction"};
  HeadRanking best;
  size_t best_rank = kEvidence.size();
  for (const AnalysisGroup& g : index.groups) {
    for (const RunSet& set : g.sets) {
      for (const RunColumn& column : set.columns) {
        if (column.model != model) continue;
        for (const Artifact& artifact : column.run->result.artifacts) {
          const auto* map = std::get_if<TensorMap>(&artifact);
          if (!map) continue;
          for (const NamedArray& a : map->arrays) {
            size_t rank = std::find(kEvidence.begin(), kEvidence.end(), a.name) - kEvidence.begin();
            if (rank >= best_rank) continue;
            std::vector<HeadRanking::Head> heads = head_scores(a);
            if (heads.empty()) continue;
            best.heads = std::move(heads);
            best.reason =
                "largest |" + a.name + "| in " + g.title + (set.heading.empty() ? "" : " (" + set.heading + ")");
            best_rank = rank;
          }
        }
      }
    }
  }
  std::stable_sort(best.heads.begin(), best.heads.end(),
                   [](const auto& a, const auto& b) { return std::fabs(a.score) > std::fabs(b.score); });
  return best;
}

ArrayView view_array(const NamedArray& array, const TensorMap& map, const ViewContext& context) {
  return Planner(array, map, context).run();
}

}  // namespace microtome::report
