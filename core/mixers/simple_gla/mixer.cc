#include <ATen/ATen.h>

#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/simple_gla/cases.h"
#include "core/mixers/simple_gla/forms.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"simple_gla", simple_gla_naive, simple_gla_chunk};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "simple_gla", true, true);
  c.state_heads = c.heads;   // the decay belongs to the query head, so grouped keys still have a state for each of them
  c.decay_width = 1;
  c.decay_heads = c.heads;
  c.decay_input = true;
  const bool fused = c.gate == "swish" && p.get_bool("fuse_norm", true);
  c.norm = !p.get_bool("use_output_norm", true) ? "" : fused ? "g_norm_swish_gate.weight" : "g_norm.weight";
  check_activation(c.kind, "feature_map", p.get_string("feature_map", "identity"));
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"gk_proj.weight", {c.heads, d_model}});
  w.push_back({"gk_proj.bias", {c.heads}, true});
  return w;
}

class SimpleGla : public RecurrentLayer {
 public:
  SimpleGla(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        feature_map_(p.get_string("feature_map", "identity")),
        normalizer_(p.get_float("gate_logit_normalizer", 16)) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return activate(feature_map_, q); }
  at::Tensor map_k(const at::Tensor& k) const override { return activate(feature_map_, k); }
  at::Tensor decay(const MixerInput& in) const override {
    at::Tensor logit = project_heads(in, "decay", weight("gk_proj.weight"), maybe("gk_proj.bias"), config().heads,
                                     config().heads);
    return at::log_sigmoid(at_least_float32(logit)) / normalizer_;
  }

 private:
  std::string feature_map_;
  double normalizer_;
};

}  // namespace

void register_simple_gla(Registry& registry) {
  MixerKind k;
  k.name = "simple_gla";
  k.paper = "arXiv 2312.06635";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<SimpleGla>(p, d_model, std::move(w));
  };
  k.op = [](const MixerOpRequest& request) { return run_recurrence_op({kRecurrence, "g", false}, request); };
  k.cases = simple_gla_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
