#include <ATen/ATen.h>

#include "core/mixers/gla/forms.h"
#include "core/mixers/gsa/cases.h"
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
constexpr LinearRecurrence::Kind kRecurrence = {"gsa", gla_naive, gla_chunk};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "gsa", false, false);
  c.slots = p.get_int("num_slots", c.head_k);
  check_size(c.kind, "num_slots", c.slots, 1 << 20);
  c.decay_width = c.slots;
  c.decay_heads = c.beta_heads = c.k_heads;
  c.decay_input = c.beta_input = true;
  c.beta_point = "hook_slot_write";
  c.norm = "g_norm.weight";
  c.norm_whole = c.norm_silu = true;
  check_activation(c.kind, "feature_map", p.get_string("feature_map", "swish"));
  if (!(p.get_float("gate_logit_normalizer", 8) > 0))
    throw Error(StatusCode::kBadInput, "gate_logit_normalizer is " + std::to_string(p.get_float("gate_logit_normalizer")) +
                                           ", expected a positive number", "mixer gsa");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  MixerInfo info = layer_info(c);
  info.points.push_back({"hook_slot_read", {"batch", "pos", "head", "d_k"}, {-1, -1, c.heads, c.slots}, false,
                         "softmax over slots: what reads the state"});
  info.points.push_back({"hook_state.hk", {"batch", "pos", "head", "d_head", "d_k"},
                         {-1, -1, c.state_heads, c.d_k, c.slots}, true, "the keys' slots"});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"f_proj.weight", {c.k_heads * c.slots, d_model}});
  return w;
}

class Gsa : public RecurrentLayer {
 public:
  Gsa(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        info_(make_info(p, d_model)), feature_map_(p.get_string("feature_map", "swish")),
        normalizer_(p.get_float("gate_logit_normalizer", 8)) {}
  const MixerInfo& info() const override { return info_; }

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return activate(feature_map_, q); }
  at::Tensor map_k(const at::Tensor& k) const override { return activate(feature_map_, k); }
  at::Tensor map_v(const at::Tensor& v) const override { return at::silu(v); }
  at::Tensor decay(const MixerInput& in) const override { return gate(in, "decay"); }
  at::Tensor beta(const MixerInput& in) const override { return -at::expm1(gate(in, "beta")); }

  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                 const MixerRun& run) const override {
    const auto type = r.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    RecurrenceInput keys;
    keys.q = r.q.to(type);
    keys.k = r.k.to(type);
    keys.v = r.beta.to(type);
    keys.g = r.g.to(type);
    at::Tensor Hk = kept_tensor(kept, "Hk");
    r.q = hooks.apply("hook_slot_read", read_slots(keys, Hk, &hooks, run.form, "gsa"));
    if (kept) kept->tensors["Hk"] = Hk;
    r.k = keys.v;
    r.beta = at::Tensor();
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }

 private:
  at::Tensor gate(const MixerInput& in, const char* role) const {
    at::Tensor f = project_heads(in, role, weight("f_proj.weight"), {}, config().k_heads, config().heads);
    return at::log_sigmoid(at_least_float32(f)) / normalizer_;
  }
  MixerInfo info_;
  std::string feature_map_;
  double normalizer_;
};

// q, k, v [batch, pos, head, *], s, g [batch, pos, kv head, slot], hk0, hv0 → o, p, final_hk, final_hv, and on request
// states_hk, states_hv and A.
MixerOpResult gsa_op(const MixerOpRequest& request) {
  RecurrenceInput keys = slot_op_input(request);
  keys.g = op_input(request, "g", 4);
  if (keys.g.sizes() != keys.v.sizes())
    throw Error(StatusCode::kBadInput, "input 'g' has shape " + c10::str(keys.g.sizes()) + ", expected s's " +
                                           c10::str(keys.v.sizes()));
  return run_slot_op(kRecurrence, keys, request.inputs.at("v"), request, "states_hk", "states_hv");
}

}  // namespace

void register_gsa(Registry& registry) {
  MixerKind k;
  k.name = "gsa";
  k.paper = "arXiv 2409.07146";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Gsa>(p, d_model, std::move(w));
  };
  k.op = gsa_op;
  k.cases = gsa_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
