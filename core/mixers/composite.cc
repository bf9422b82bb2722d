#include "core/mixers/composite.h"

#include <ATen/ATen.h>

#include "core/cache/activation_cache.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kInside = "part";
constexpr const char* kResidual = "hook_pattern_residual";

std::string inside(const std::string& point) { return std::string(kInside) + "." + point; }

const MixerKind& kind_of(const std::string& name) {
  const MixerKind* kind = builtin().find(name);
  if (!kind) throw Error(StatusCode::kInternal, "mixer '" + name + "' is not registered");
  return *kind;
}

// Asked a position at a time (HookScope::apply_at).
bool by_position(const std::string& point) { return point == "hook_state" || point == "hook_state_write"; }

}  // namespace

const PointNames& ssm_names() {
  static const PointNames names = [] {
    PointNames out;
    for (const char* n : {"hook_q", "hook_k", "hook_v", "hook_z", "hook_z_normalized", "hook_gate", "hook_pattern",
                          kResidual, "hook_result"})
      out[n] = std::string(n) + ".ssm";
    return out;
  }();
  return names;
}

MixerPart::MixerPart(const std::string& kind, const Params& params, int64_t d_model, WeightMap weights, PointNames names)
    : names_(std::move(names)), mixer_(kind_of(kind).create(params, d_model, std::move(weights))) {
  for (HookPoint p : mixer_->info().points) {
    p.name = inside(p.name);
    catalogue_.add(std::move(p));
  }
}

const std::string& MixerPart::outside(const std::string& point) const {
  auto it = names_.find(point);
  return it == names_.end() ? point : it->second;
}

// The part gets a run of its own, in which each point that the layer wants is an edit that asks the layer's hooks.
at::Tensor MixerPart::forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const {
  if (names_.empty() || !hooks.any()) return mixer_->forward(in, state, hooks, run);
  const int64_t first = hooks.first_pos();
  HookPlan plan;
  for (const HookPoint& p : mixer_->info().points) {
    const std::string& name = outside(p.name);
    if (!hooks.wants(name)) continue;
    if (p.name == kResidual) {
      plan.capture(inside(p.name));                    // a read-out, handed on below
    } else if (!by_position(p.name)) {
      plan.edit(inside(p.name), [&hooks, &name](const at::Tensor& v, int64_t) { return hooks.apply(name, v); });
    } else {
      auto asked = hooks.positions(name);
      if (asked && asked->empty()) continue;           // wanted in another part of the sequence
      std::vector<int64_t> positions = asked.value_or(std::vector<int64_t>{});
      for (int64_t& q : positions) q += first;
      plan.edit(inside(p.name), [&hooks, &name, first](const at::Tensor& v, int64_t pos) {
        return hooks.apply_at(name, pos - first, v.squeeze(1)).unsqueeze(1);
      }, std::move(positions));
    }
  }
  ActivationCache noted;
  HookRun own(plan, catalogue_, first, in.x.size(1), &noted);
  HookScope scope(&own, kInside);
  at::Tensor y = mixer_->forward(in, state, scope, run);
  if (noted.has(inside(kResidual)))
    hooks.note(outside(kResidual), noted.get(inside(kResidual)), noted.about(inside(kResidual)).axes);
  return y;
}

MixerInfo part_info(const std::string& kind, const Params& params, int64_t d_model, const PointNames& names) {
  MixerInfo info = kind_of(kind).info(params, d_model);
  for (HookPoint& p : info.points)
    if (auto it = names.find(p.name); it != names.end()) p.name = it->second;
  return info;
}

std::vector<WeightSpec> part_weights(const std::string& kind, const Params& params, int64_t d_model,
                                     const std::string& prefix) {
  std::vector<WeightSpec> out = kind_of(kind).weights(params, d_model);
  for (WeightSpec& s : out) s.name = prefix + s.name;
  return out;
}

MixerInfo join_infos(const std::string& kind, const MixerInfo& attention, const MixerInfo& recurrent) {
  MixerInfo info = attention;
  info.kind = kind;
  info.recurrent = true;
  info.kv_heads = recurrent.kv_heads;
  info.d_k = recurrent.d_k;
  info.d_v = recurrent.d_v;
  info.forms = recurrent.forms;
  for (HookPoint p : recurrent.points) {
    p.note = "of " + recurrent.kind + (p.note.empty() ? "" : ": " + p.note);
    info.points.push_back(std::move(p));
  }
  return info;
}

Params params_below(const Params& params, const std::string& prefix) {
  Params out;
  for (const auto& [name, value] : params.values())
    if (name.starts_with(prefix)) out.set(name.substr(prefix.size()), value);
  return out;
}

WeightMap weights_below(const WeightMap& weights, const std::string& prefix) {
  WeightMap out;
  for (const auto& [name, value] : weights)
    if (name.starts_with(prefix)) out[name.substr(prefix.size())] = value;
  return out;
}

}  // namespace microtome::mixers
