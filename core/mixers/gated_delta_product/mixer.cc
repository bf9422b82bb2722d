#include <ATen/ATen.h>

#include "core/mixers/gated_delta_product/cases.h"
#include "core/mixers/gated_delta_product/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"gated_delta_product", gated_delta_product_naive,
                                                gated_delta_product_chunk, /*delta=*/true, /*normalized=*/false,
                                                gated_delta_product_write};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "gated_delta_product", true, true);
  const int64_t value_heads = p.get_int("num_v_heads", c.q_heads);
  check_size(c.kind, "num_v_heads", value_heads, 1 << 16);
  c.steps = p.get_int("num_householder", 1);
  check_size(c.kind, "num_householder", c.steps, 64);
  c.k_heads = c.q_heads;
  c.heads = c.v_heads = c.state_heads = value_heads;   // value head j uses q and k head j / (v heads / q heads)
  c.beta_heads = value_heads;
  c.beta_input = true;
  if (p.get_bool("use_forget_gate", true)) {
    c.decay_width = 1;
    c.decay_heads = value_heads;
    c.decay_input = true;
  }
  c.norm = "o_norm.weight";
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"b_proj.weight", {c.heads * c.steps, d_model}});
  if (c.decay_width) {
    w.push_back({"a_proj.weight", {c.heads, d_model}});
    w.push_back({"A_log", {c.heads}});
    w.push_back({"dt_bias", {c.heads}});
  }
  return w;
}

class GatedDeltaProduct : public RecurrentLayer {
 public:
  GatedDeltaProduct(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        strength_(p.get_bool("allow_neg_eigval", false) ? 2.0 : 1.0) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return l2_norm(config().conv_size ? q : at::silu(q)); }
  at::Tensor map_k(const at::Tensor& k) const override { return l2_norm(config().conv_size ? k : at::silu(k)); }
  at::Tensor map_v(const at::Tensor& v) const override { return config().conv_size ? v : at::silu(v); }
  at::Tensor decay(const MixerInput& in) const override {
    at::Tensor a = at_least_float32(project_heads(in, "decay", weight("a_proj.weight"), {}, config().heads,
                                                  config().heads));
    at::Tensor rate = at_least_float32(weight("A_log")).exp().unsqueeze(-1);
    return -rate * at::softplus(a + at_least_float32(weight("dt_bias")).unsqueeze(-1));
  }
  at::Tensor beta(const MixerInput& in) const override {
    at::Tensor logit = project_steps(in, "beta", weight("b_proj.weight"), config().heads);
    return at_least_float32(logit).squeeze(-1).sigmoid() * strength_;
  }

 private:
  double strength_;
};

}  // namespace

void register_gated_delta_product(Registry& registry) {
  MixerKind k;
  k.name = "gated_delta_product";
  k.aliases = {"gated_deltaproduct"};
  k.paper = "arXiv 2502.10297";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<GatedDeltaProduct>(p, d_model, std::move(w));
  };
  k.op = [](const MixerOpRequest& request) {
    RecurrenceOp op{kRecurrence, "g", false};
    op.decay_optional = op.steps = true;
    return run_recurrence_op(op, request);
  };
  k.cases = gated_delta_product_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
