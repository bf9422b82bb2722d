// test_linear_support.h — a linear mixer on random weights, run under a hook plan. Tests only.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/cache/activation_cache.h"
#include "core/hooks/hook_scope.h"
#include "core/mixers/registry.h"

namespace microtome::testing {

inline const std::vector<const char*>& linear_kinds() {
  static const std::vector<const char*> kinds = {"linear_attn", "retention",  "simple_gla",
                                                 "gla",         "delta_rule", "gated_delta_rule"};
  return kinds;
}

struct LinearRun {
  at::Tensor out;
  ActivationCache cache;
};

struct LinearSubject {
  std::unique_ptr<TokenMixer> mixer;
  HookCatalogue catalogue;
  MixerInput in;
  MixerCase about;

  LinearRun run(const HookPlan& plan, MixerState* state = nullptr, MixerForm form = MixerForm::kAuto,
                int64_t from = 0, int64_t to = -1) const {
    LinearRun r;
    MixerInput part{in.x.slice(1, from, to < 0 ? in.x.size(1) : to), {}};
    for (const auto& [role, x] : in.split) part.split[role] = x.slice(1, from, to < 0 ? in.x.size(1) : to);
    HookRun hooks(plan, catalogue, from, part.x.size(1), &r.cache);
    HookScope scope(&hooks, "blocks.0.attn");
    MixerRun how;
    how.form = form;
    r.out = mixer->forward(part, state, scope, how);
    hooks.finish();
    return r;
  }
  at::Tensor out(MixerForm form = MixerForm::kAuto) const { return run(HookPlan(), nullptr, form).out; }
};

inline std::string attn(const char* point) { return std::string("blocks.0.attn.") + point; }

inline LinearSubject make_subject(const MixerKind& kind, const MixerCase& about, at::ScalarType type, uint64_t seed = 7) {
  at::manual_seed(seed);
  WeightMap weights;
  for (const WeightSpec& s : kind.weights(about.params, about.d_model)) {
    const bool matrix = s.shape.size() > 1;
    at::Tensor w = at::randn(s.shape, at::kDouble);
    weights[s.name] = (matrix ? w / std::sqrt(static_cast<double>(s.shape.back())) : w * 0.3 + 1).to(type);
  }
  LinearSubject s;
  s.about = about;
  s.mixer = kind.create(about.params, about.d_model, std::move(weights));
  for (HookPoint p : s.mixer->info().points) {
    p.name = attn(p.name.c_str());
    s.catalogue.add(p);
  }
  s.in.x = at::randn({about.batch, about.pos, about.d_model}, at::kDouble).to(type);
  return s;
}

// The first case of a kind with at least this many tokens.
inline LinearSubject subject_of(const std::string& name, int64_t pos, at::ScalarType type) {
  const MixerKind* kind = mixers::builtin().find(name);
  for (const MixerCase& c : kind->cases)
    if (c.pos >= pos) return make_subject(*kind, c, type);
  ADD_FAILURE() << name << " has no case of " << pos << " tokens";
  return make_subject(*kind, kind->cases.front(), type);
}

inline double max_diff(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace microtome::testing
