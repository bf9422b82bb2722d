#include <ATen/ATen.h>

#include "core/mixers/kda/cases.h"
#include "core/mixers/kda/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"kda", kda_naive, kda_chunk, /*delta=*/true};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "kda", true, true);
  const int64_t value_heads = p.get_int("num_v_heads", c.q_heads);
  check_size(c.kind, "num_v_heads", value_heads, 1 << 16);
  c.k_heads = c.q_heads;
  c.heads = c.v_heads = c.state_heads = value_heads;   // value head j uses q and k head j / (v heads / q heads)
  c.decay_width = c.d_k;
  c.decay_heads = c.beta_heads = value_heads;
  c.decay_input = c.beta_input = true;
  c.norm = "o_norm.weight";
  c.gate = "sigmoid";
  c.gate_rank = c.head_v;
  c.gate_bias = p.get_bool("gate_bias", true);
  return c;
}

double read_bound(const Params& p) {
  const double bound = p.get_float("lower_bound", 0.0);
  if (!(bound <= 0))
    throw Error(StatusCode::kBadInput, "lower_bound is " + std::to_string(bound) + ", expected a negative log decay",
                "mixer kda");
  return bound;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"f_proj.0.weight", {c.head_v, d_model}});
  w.push_back({"f_proj.1.weight", {c.heads * c.d_k, c.head_v}});
  w.push_back({"b_proj.weight", {c.heads, d_model}});
  w.push_back({"A_log", {c.heads}});
  w.push_back({"dt_bias", {c.heads * c.d_k}});
  return w;
}

// The log decay of a raw gate [batch, pos, head, d_k]; bound 0: none.
at::Tensor log_decay(const at::Tensor& raw, const at::Tensor& A_log, const at::Tensor& dt_bias, double bound) {
  at::Tensor rate = at_least_float32(A_log).exp().unsqueeze(-1);
  at::Tensor x = at_least_float32(raw) + at_least_float32(dt_bias).view({raw.size(2), raw.size(3)});
  return bound < 0 ? bound * at::sigmoid(rate * x) : -rate * at::softplus(x);
}

class Kda : public RecurrentLayer {
 public:
  Kda(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        strength_(p.get_bool("allow_neg_eigval", false) ? 2.0 : 1.0), bound_(read_bound(p)) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return l2_norm(config().conv_size ? q : at::silu(q)); }
  at::Tensor map_k(const at::Tensor& k) const override { return l2_norm(config().conv_size ? k : at::silu(k)); }
  at::Tensor map_v(const at::Tensor& v) const override { return config().conv_size ? v : at::silu(v); }
  at::Tensor decay(const MixerInput& in) const override {
    at::Tensor raw = project_low_rank(in, "decay", weight("f_proj.0.weight"), weight("f_proj.1.weight"), {},
                                      config().heads, config().heads);
    return log_decay(raw, weight("A_log"), weight("dt_bias"), bound_);
  }
  at::Tensor beta(const MixerInput& in) const override {
    at::Tensor logit = project_heads(in, "beta", weight("b_proj.weight"), {}, config().heads, config().heads);
    return at_least_float32(logit).squeeze(-1).sigmoid() * strength_;
  }

 private:
  double strength_, bound_;
};

// The op, also on raw gates: g_raw, A_log, dt_bias and beta_raw in place of g and beta, with q and k not yet of unit
// length.
MixerOpResult kda_op(const MixerOpRequest& request) {
  MixerOpRequest r = request;
  if (request.inputs.count("g_raw")) {
    const at::Tensor raw = op_input(request, "g_raw", 4), rate = op_input(request, "A_log", 1);
    const at::Tensor bias = op_input(request, "dt_bias", 1);
    if (rate.size(0) != raw.size(2) || bias.size(0) != raw.size(2) * raw.size(3))
      throw Error(StatusCode::kBadInput, "inputs 'A_log' and 'dt_bias' do not fit the heads and channels of 'g_raw'");
    r.inputs["g"] = log_decay(raw, rate, bias, request.scalars.get_float("lower_bound", 0.0));
    r.inputs["q"] = l2_norm(op_input(request, "q", 4));
    r.inputs["k"] = l2_norm(op_input(request, "k", 4));
  }
  if (request.inputs.count("beta_raw")) r.inputs["beta"] = op_input(request, "beta_raw", 3).sigmoid();
  return run_recurrence_op({kRecurrence, "g", true}, r);
}

}  // namespace

void register_kda(Registry& registry) {
  MixerKind k;
  k.name = "kda";
  k.aliases = {"kimi_delta_attention"};
  k.paper = "arXiv 2510.26692";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Kda>(p, d_model, std::move(w));
  };
  k.op = kda_op;
  k.cases = kda_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
