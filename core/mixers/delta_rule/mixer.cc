#include <ATen/ATen.h>

#include "core/mixers/delta_rule/cases.h"
#include "core/mixers/delta_rule/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"delta_rule", delta_rule_naive, delta_rule_chunk, /*delta=*/true};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "delta_rule", false, true);
  c.beta_heads = c.heads;
  c.beta_input = p.get_bool("use_beta", true);
  c.norm = p.get_bool("use_output_norm", true) ? "o_norm.weight" : "";
  const std::string activation = p.get_string("qk_activation", "silu");
  check_activation(c.kind, "qk_activation", activation);
  c.conv_silu_qk = activation == "silu";   // fla puts SiLU into the convolution, any other activation behind it
  const std::string norm = p.get_string("qk_norm", "l2");
  if (norm != "l2" && norm != "sum")
    throw Error(StatusCode::kUnsupported, "qk_norm is '" + norm + "'", "mixer delta_rule", "use l2 or sum");
  c.state_heads = std::max(c.k_heads, c.heads);   // beta is one a head
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  if (p.get_bool("use_beta", true)) w.push_back({"b_proj.weight", {c.beta_heads, d_model}});
  return w;
}

class DeltaRule : public RecurrentLayer {
 public:
  DeltaRule(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        activation_(p.get_string("qk_activation", "silu")),
        sum_norm_(p.get_string("qk_norm", "l2") == "sum"),
        use_beta_(p.get_bool("use_beta", true)),
        strength_(p.get_bool("allow_neg_eigval", false) ? 2.0 : 1.0) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return map(q); }
  at::Tensor map_k(const at::Tensor& k) const override { return map(k); }
  at::Tensor map_v(const at::Tensor& v) const override { return config().conv_size ? v : at::silu(v); }
  at::Tensor beta(const MixerInput& in) const override {
    if (!use_beta_) {
      const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      return at::full({in.x.size(0), in.x.size(1), config().beta_heads}, strength_, in.x.options().dtype(type));
    }
    at::Tensor logit = project_heads(in, "beta", weight("b_proj.weight"), {}, config().beta_heads, config().heads);
    return at_least_float32(logit).squeeze(-1).sigmoid() * strength_;
  }

 private:
  at::Tensor map(const at::Tensor& x) const {
    const bool done = config().conv_size && config().conv_silu_qk;
    at::Tensor y = done ? x : activate(activation_, x);
    return sum_norm_ ? y / y.abs().sum(-1, true).clamp_min(1e-6) : l2_norm(y);
  }

  std::string activation_;
  bool sum_norm_, use_beta_;
  double strength_;
};

}  // namespace

void register_delta_rule(Registry& registry) {
  MixerKind k;
  k.name = "delta_rule";
  k.aliases = {"delta_net"};
  k.paper = "arXiv 2102.11174, arXiv 2406.06484";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<DeltaRule>(p, d_model, std::move(w));
  };
  k.op = [](const MixerOpRequest& request) { return run_recurrence_op({kRecurrence, "", false}, request); };
  k.cases = delta_rule_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
