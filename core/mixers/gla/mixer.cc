#include <ATen/ATen.h>

#include <optional>

#include "core/mixers/gla/cases.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"gla", gla_naive, gla_chunk};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "gla", true, false);
  c.decay_width = c.d_k;
  c.decay_heads = c.k_heads;
  c.decay_input = true;
  const bool fused = c.gate == "swish" && p.get_bool("fuse_norm", true);
  c.norm = !p.get_bool("use_output_norm", true) ? "" : fused ? "g_norm_swish_gate.weight" : "g_norm.weight";
  check_activation(c.kind, "feature_map", p.get_string("feature_map", "identity"));
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  const int64_t rank = p.get_int("gate_low_rank", 16);
  check_size(c.kind, "gate_low_rank", rank, 1 << 20);
  w.push_back({"gk_proj.0.weight", {rank, d_model}});
  w.push_back({"gk_proj.1.weight", {c.k_heads * c.head_k, rank}});
  w.push_back({"gk_proj.1.bias", {c.k_heads * c.head_k}, true});
  return w;
}

class Gla : public RecurrentLayer {
 public:
  Gla(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        feature_map_(p.get_string("feature_map", "identity")),
        normalizer_(p.get_float("gate_logit_normalizer", 16)) {
    if (p.has("clamp_min")) clamp_min_ = p.get_float("clamp_min");
  }

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return activate(feature_map_, q); }
  at::Tensor map_k(const at::Tensor& k) const override { return activate(feature_map_, k); }
  at::Tensor decay(const MixerInput& in) const override {
    const at::Tensor& down = weight("gk_proj.0.weight");
    MixerInput low{at::linear(in.x, down), {}};
    if (auto it = in.split.find("decay"); it != in.split.end()) low.split["decay"] = at::linear(it->second, down);
    at::Tensor logit = project_heads(low, "decay", weight("gk_proj.1.weight"), maybe("gk_proj.1.bias"),
                                     config().k_heads, config().heads);
    at::Tensor g = at::log_sigmoid(at_least_float32(logit)) / normalizer_;
    return clamp_min_ ? g.clamp_min(*clamp_min_) : g;
  }

 private:
  std::string feature_map_;
  double normalizer_;
  std::optional<double> clamp_min_;
};

}  // namespace

void register_gla(Registry& registry) {
  MixerKind k;
  k.name = "gla";
  k.aliases = {"gated_linear_attention"};
  k.paper = "arXiv 2312.06635";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Gla>(p, d_model, std::move(w));
  };
  k.op = [](const MixerOpRequest& request) { return run_recurrence_op({kRecurrence, "gk", true}, request); };
  k.cases = gla_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
