#include "analysis/engine/grid_result.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

namespace microtome::engine {
namespace {

// Flat index of a row-major tensor to one index an axis.
std::vector<int64_t> unravel(int64_t flat, at::IntArrayRef sizes) {
  std::vector<int64_t> out(sizes.size());
  for (size_t a = sizes.size(); a-- > 0;) {
    out[a] = flat % sizes[a];
    flat /= sizes[a];
  }
  return out;
}

std::string percent(double share) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, std::abs(share) < 0.1 ? "%.1f %%" : "%.0f %%", 100 * share);
  return buffer;
}

// Flat indices by falling |x|, NaN left out.
std::vector<int64_t> strongest(const at::Tensor& t, size_t count) {
  at::Tensor flat = t.contiguous().flatten().to(at::kDouble);
  const double* p = flat.data_ptr<double>();
  std::vector<int64_t> order;
  for (int64_t i = 0; i < flat.numel(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return std::abs(p[a]) > std::abs(p[b]); });
  order.resize(std::min(order.size(), count));
  return order;
}

}  // namespace

GridResult::GridResult(const AnalysisInput& input, const PatchGrid& grid, const Site& site)
    : input_(input), grid_(grid), site_(site), by_position_(grid.by_pos()) {
  if (!by_position_) return;
  std::vector<PromptGroup> groups;
  for (const GridGroup& g : grid.groups()) groups.push_back(g.prompts);
  pos_labels_ = position_labels(input, groups);
}

std::vector<std::string> GridResult::axes() const {
  std::vector<std::string> out{"layer"};
  if (by_position_) out.push_back("pos");
  if (site_.shape != Site::Shape::kPos) out.push_back("head");
  return out;
}

at::Tensor GridResult::stack_layers(const std::vector<std::vector<NamedArray>>& items, const std::string& name) const {
  std::vector<at::Tensor> layers;
  std::vector<int64_t> cells;
  if (by_position_) cells.push_back(grid_.width());
  if (site_.shape != Site::Shape::kPos) cells.push_back(grid_.max_heads());
  cells.push_back(static_cast<int64_t>(input_.dataset.pairs.size()));
  for (const auto& item : items)
    layers.push_back(item.empty() ? at::full(cells, NAN, at::kDouble)
                                  : to_tensor(find_array(item, name)).to(at::kDouble));
  return at::stack(layers, 0);
}

TensorMap GridResult::tensor_map(std::string name, std::string title) const {
  TensorMap out;
  out.name = std::move(name);
  out.title = std::move(title);
  out.axis_labels["layer"] = number_labels("L", static_cast<int64_t>(input_.model.config().layers.size()));
  if (by_position_) out.axis_labels["pos"] = pos_labels_;
  if (site_.shape != Site::Shape::kPos) out.axis_labels["head"] = number_labels("H", grid_.max_heads());
  return out;
}

std::string GridResult::place(const std::vector<int64_t>& index) const {
  std::string out;
  size_t at = 1;
  int64_t pos = by_position_ ? index[at++] : -1;
  if (site_.shape != Site::Shape::kPos) {
    out = "head " + std::to_string(index[0]) + "." + std::to_string(index[at]);
    if (site_.name != "z" && site_.name != "result") out = site_.name + " of " + out;
  } else {
    out = site_.name + " of layer " + std::to_string(index[0]);
  }
  if (pos >= 0) {
    const std::string& label = pos_labels_[static_cast<size_t>(pos)];
    out += " at position " + std::to_string(pos - grid_.width()) + (label.empty() || label[0] == '-' ? "" : " ('" + label + "')");
  }
  return out;
}

void GridResult::add_labels(AnalysisResult& out, const at::Tensor& value, const at::Tensor& reference, double span) const {
  if (!by_position_) return;
  std::set<std::string> names;
  for (const PromptPair& p : input_.dataset.pairs)
    for (const auto& [label, _] : p.positions) names.insert(label);
  if (names.empty()) return;
  std::vector<std::string> labels(names.begin(), names.end());
  std::vector<at::Tensor> columns;
  for (const std::string& label : labels) {
    std::vector<at::Tensor> rows;
    for (const GridGroup& g : grid_.groups()) {
      for (int64_t i : g.prompts.prompts) {
        const auto& positions = input_.dataset.pairs[static_cast<size_t>(i)].positions;
        auto it = positions.find(label);
        if (it == positions.end() || it->second < 0 || it->second >= g.prompts.length) continue;
        int64_t column = it->second + grid_.width() - g.prompts.length;
        rows.push_back((value.select(1, column).select(-1, i) - reference[i]) / span);
      }
    }
    at::Tensor mean = rows.empty() ? at::full_like(value.select(1, 0).select(-1, 0), NAN) : nan_mean(at::stack(rows, 0), 0);
    columns.push_back(mean);
  }
  TensorMap map = tensor_map("effect_by_label_" + site_.name, "Effect at labelled positions");
  map.axis_labels["label"] = labels;
  std::vector<std::string> axes{"layer"};
  if (site_.shape != Site::Shape::kPos) axes.push_back("head");
  axes.push_back("label");
  map.arrays.push_back(to_array("effect_by_label", axes, at::stack(columns, -1).to(at::kFloat), "",
                                "mean effect, each prompt at its own labelled position"));
  map.looks["effect_by_label"] = "diverging";
  out.artifacts.push_back(std::move(map));
}

Table GridResult::top_table(const at::Tensor& value, const at::Tensor& reference, double span) const {
  Table t;
  t.name = "strongest_" + site_.name;
  t.title = "Strongest cells";
  t.columns = {{"place", "", "layer.head, or layer and position"}, {"effect", "", "share of the difference between the two runs"},
               {"low", "", "95 % bootstrap interval over prompts"}, {"high", "", "95 % bootstrap interval over prompts"},
               {"prompts", "", "prompts that have the cell"}};
  at::Tensor effect = (value - reference) / span;
  at::Tensor mean = nan_mean(effect, -1);
  for (int64_t flat : strongest(mean, 20)) {
    std::vector<int64_t> index = unravel(flat, mean.sizes());
    at::Tensor cell = effect;
    for (int64_t i : index) cell = cell.select(0, i);
    cell = cell.contiguous();
    std::vector<double> kept;
    for (int64_t i = 0; i < cell.numel(); ++i)
      if (double v = cell.data_ptr<double>()[i]; !std::isnan(v)) kept.push_back(v);
    SummaryItem s = summarise("", kept, "", "", input_.seed);
    t.rows.push_back({place(index), s.value, s.low, s.high, s.n});
  }
  return t;
}

void GridResult::add_findings(AnalysisResult& out, const at::Tensor& effect, const std::string& act, const std::string& verb,
                              const std::string& of_what) const {
  at::Tensor deviation = verb == "leaves" ? effect - 1 : effect;
  for (int64_t flat : strongest(deviation, 3)) {
    std::vector<int64_t> index = unravel(flat, effect.sizes());
    at::Tensor cell = effect, change = deviation;
    for (int64_t i : index) cell = cell.select(0, i), change = change.select(0, i);
    if (std::abs(change.item<double>()) < 0.05) continue;
    out.findings.push_back(act + " " + place(index) + " " + verb + " " + percent(cell.item<double>()) + " " + of_what + ".");
  }
  if (out.findings.empty())
    out.findings.push_back("No single cell of the site '" + site_.name + "' moves the answer by more than 5 %.");
}

}  // namespace microtome::engine
