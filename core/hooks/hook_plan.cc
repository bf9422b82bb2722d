#include "core/hooks/hook_plan.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/status.h"
#include "core/hooks/index_tensor.h"

namespace microtome {

const char* form_name(MixerForm form) {
  switch (form) {
    case MixerForm::kNaive: return "naive";
    case MixerForm::kChunk: return "chunk";
    case MixerForm::kRecurrent: return "recurrent";
    default: return "auto";
  }
}

MixerForm parse_form(const std::string& name) {
  for (MixerForm f : {MixerForm::kAuto, MixerForm::kNaive, MixerForm::kChunk, MixerForm::kRecurrent})
    if (name == form_name(f)) return f;
  throw Error(StatusCode::kBadInput, "unknown form '" + name + "'", "--form", "use auto, naive, chunk or recurrent");
}

HookPlan& HookPlan::capture(std::string pattern, std::vector<int64_t> positions, bool gradient) {
  captures_.push_back({std::move(pattern), std::move(positions), gradient});
  return *this;
}

HookPlan& HookPlan::intervene(Intervention i) {
  interventions_.push_back(std::move(i));
  return *this;
}

HookPlan& HookPlan::edit(std::string hook, Edit f, std::vector<int64_t> positions) {
  edits_.push_back({std::move(hook), std::move(f), std::move(positions)});
  return *this;
}

namespace {

bool is_position_axis(const std::string& axis) { return axis == "pos" || axis == "q_pos" || axis == "k_pos"; }

// Indices along one axis as this value counts them; an empty optional: nothing of them lies in this value.
std::optional<at::Tensor> axis_index(const Intervention& i, const std::string& axis, const std::vector<int64_t>& given,
                                     int64_t size, int64_t first_pos, int64_t total_pos, at::Device device) {
  // Keys count from the start of the sequence even where this run began later.
  bool relative = axis == "pos" || axis == "q_pos";
  std::vector<int64_t> out;
  for (int64_t g : given) {
    int64_t limit = is_position_axis(axis) ? total_pos : size;
    int64_t v = g < 0 ? g + limit : g;
    if (v < 0 || v >= limit)
      throw Error(StatusCode::kBadInput, "index " + std::to_string(g) + " on axis '" + axis + "' is outside 0…" +
                  std::to_string(limit - 1), "intervention on " + i.hook, "use an index inside the axis");
    if (relative) v -= first_pos;
    if (v >= 0 && v < size) out.push_back(v);
  }
  if (out.empty()) return std::nullopt;
  return index_tensor(out, device);
}

at::Tensor operate(const Intervention& i, const at::Tensor& region, const at::Tensor& source) {
  switch (i.operation) {
    case Intervention::Operation::kSet: return source.expand_as(region);
    case Intervention::Operation::kAdd: return region + source;
    case Intervention::Operation::kScale: return region * source;
    case Intervention::Operation::kProjectOut: {
      // Removes the component along the source direction, over the last axis.
      at::Tensor unit = source / source.norm(2, -1, true).clamp_min(1e-30);
      return region - (region * unit).sum(-1, true) * unit;
    }
  }
  return region;
}

}  // namespace

at::Tensor apply_intervention(const Intervention& i, const at::Tensor& value, const std::vector<std::string>& axes,
                              int64_t first_pos, int64_t total_pos) {
  for (const auto& [axis, _] : i.where) {
    if (std::find(axes.begin(), axes.end(), axis) != axes.end()) continue;
    std::string known;
    for (const std::string& a : axes) known += (known.empty() ? "" : " ") + a;
    throw Error(StatusCode::kBadInput, "axis '" + axis + "' does not exist here", "intervention on " + i.hook,
                "this point has the axes " + known);
  }
  at::Tensor source = i.tensor.defined() ? i.tensor.to(value.device(), value.scalar_type())
                                         : at::full({}, i.value, value.options());
  at::Tensor region = value;
  // A source over the whole sequence, where this value holds a part of it (a resumed run, one state).
  for (size_t a = 0; a < axes.size() && source.dim() == value.dim(); ++a) {
    int64_t axis = static_cast<int64_t>(a);
    if ((axes[a] == "pos" || axes[a] == "q_pos") && source.size(axis) == total_pos && value.size(axis) != total_pos)
      source = source.narrow(axis, first_pos, value.size(axis));
  }
  bool same_shape = source.sizes() == value.sizes() && !source.sizes().empty();
  std::vector<std::pair<int64_t, at::Tensor>> picks;
  for (size_t a = 0; a < axes.size(); ++a) {
    auto it = i.where.find(axes[a]);
    if (it == i.where.end()) continue;
    auto index = axis_index(i, axes[a], it->second, value.size(static_cast<int64_t>(a)), first_pos, total_pos,
                            value.device());
    if (!index) return value;
    picks.emplace_back(static_cast<int64_t>(a), *index);
  }
  for (auto& [axis, index] : picks) {
    region = region.index_select(axis, index);
    if (same_shape) source = source.index_select(axis, index);
  }
  at::Tensor changed;
  try {
    changed = operate(i, region, source);
  } catch (const c10::Error&) {
    auto shape = [](const at::Tensor& t) { return c10::str(t.sizes()); };
    throw Error(StatusCode::kBadInput, "a source of shape " + shape(source) + " does not fit the region of shape " +
                shape(region), "intervention on " + i.hook, "give a source that broadcasts to the region");
  }
  // From the innermost pick outwards, so that each level is written back into the one that held it.
  std::vector<at::Tensor> levels{value};
  for (size_t n = 0; n + 1 < picks.size(); ++n) levels.push_back(levels.back().index_select(picks[n].first, picks[n].second));
  for (size_t n = picks.size(); n-- > 0;) changed = levels[n].index_copy(picks[n].first, picks[n].second, changed.contiguous());
  return changed;
}

}  // namespace microtome
