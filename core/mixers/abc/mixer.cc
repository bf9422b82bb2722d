#include <ATen/ATen.h>

#include "core/mixers/abc/cases.h"
#include "core/mixers/abc/forms.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/gsa/forms.h"
#include "core/mixers/gsa/op.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

// The second half: z_t = S_t^T p_t, S_t = diag(exp(g_t)) S_{t-1} + s_t v_t^T.
constexpr LinearRecurrence::Kind kRecurrence = {"abc", gla_naive, gla_chunk};
// Fewer tokens are taken one by one.
constexpr int64_t kShort = 8;

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "abc", true, false);
  if (c.k_heads != c.heads)
    throw Error(StatusCode::kUnsupported, "num_kv_heads differs from num_heads", "mixer abc", "leave it out");
  c.slots = p.get_int("num_slots", c.head_k);
  check_size(c.kind, "num_slots", c.slots, 1 << 20);
  c.beta_heads = c.heads;
  c.beta_input = true;
  c.beta_point = "hook_slot_logits";
  c.rotary = p.get_bool("use_rope", true);
  c.norm = "g_norm.weight";
  const double least = p.get_float("clamp_min", -32), most = p.get_float("clamp_max", 32);
  if (!(least < most))
    throw Error(StatusCode::kBadInput, "clamp_min " + std::to_string(least) + " is not below clamp_max " +
                                           std::to_string(most), "mixer abc");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  MixerInfo info = layer_info(c);
  const std::vector<std::string> by_slot = {"batch", "pos", "head", "d_k"};
  const std::vector<int64_t> sizes = {-1, -1, c.heads, c.slots};
  info.points.push_back({"hook_decay", by_slot, sizes, false, "log of the decay of each slot"});
  info.points.push_back({"hook_slot_write", by_slot, sizes, false, "exp(logit), divided by its sum so far"});
  info.points.push_back({"hook_slot_read", by_slot, sizes, false, "softmax over slots: what reads the state"});
  info.points.push_back({"hook_state.hk", {"batch", "pos", "head", "d_head", "d_k"}, {-1, -1, c.heads, c.d_k, c.slots},
                         true, "the keys' slots"});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"s_proj.weight", {c.heads * c.slots, d_model}});
  return w;
}

AbcGates gates(const at::Tensor& logits, at::Tensor& lse, MixerForm form) {
  const bool one_by_one = form == MixerForm::kNaive || (form == MixerForm::kAuto && logits.size(1) < kShort);
  return one_by_one ? abc_gates_naive(logits, lse) : abc_gates_chunk(logits, lse);
}

class Abc : public RecurrentLayer {
 public:
  Abc(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        info_(make_info(p, d_model)), least_(p.get_float("clamp_min", -32)), most_(p.get_float("clamp_max", 32)) {}
  const MixerInfo& info() const override { return info_; }

 protected:
  at::Tensor beta(const MixerInput& in) const override {
    at::Tensor s = project_heads(in, "beta", weight("s_proj.weight"), {}, config().heads, config().heads);
    return at_least_float32(s).clamp(least_, most_);
  }

  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                 const MixerRun& run) const override {
    const auto type = r.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor logits = r.beta.to(type), Hk = kept_tensor(kept, "Hk");
    at::Tensor lse = kept_tensor(kept, "lse", {logits.size(0), logits.size(2), logits.size(3)}, logits.options(), "abc");
    AbcGates a = gates(logits, lse, run.form);
    RecurrenceInput keys;
    keys.q = r.q.to(type);
    keys.k = r.k.to(type);
    keys.v = hooks.apply("hook_slot_write", a.s);
    keys.g = r.g = hooks.apply("hook_decay", a.g);
    keys.scale = r.scale;
    r.q = hooks.apply("hook_slot_read", read_slots(keys, Hk, &hooks, run.form, "abc"));
    if (kept) {
      kept->tensors["lse"] = lse;
      kept->tensors["Hk"] = Hk;
    }
    r.k = keys.v;
    r.beta = at::Tensor();
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }

 private:
  MixerInfo info_;
  double least_, most_;
};

// q, k, v [batch, pos, head, *], s (logits) [batch, pos, head, slot] → o, p, final_hk, final_hv, and on request every state
// by slot, slots_k [batch, pos, head, slot, d_k] and slots_v [batch, pos, head, slot, d_v], and A.
MixerOpResult abc_op(const MixerOpRequest& request) {
  RecurrenceInput keys = slot_op_input(request);
  at::Tensor lse;
  AbcGates a = gates(keys.v, lse, request.form);
  keys.v = a.s;
  keys.g = a.g;
  MixerOpResult out = run_slot_op(kRecurrence, keys, request.inputs.at("v"), request, "slots_k", "slots_v");
  if (request.states) out["slots_k"] = out["slots_k"].transpose(3, 4);
  return out;
}

}  // namespace

void register_abc(Registry& registry) {
  MixerKind k;
  k.name = "abc";
  k.paper = "arXiv 2110.02488";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Abc>(p, d_model, std::move(w));
  };
  k.op = abc_op;
  k.cases = abc_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
