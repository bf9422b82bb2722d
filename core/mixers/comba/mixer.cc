#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/comba/cases.h"
#include "core/mixers/comba/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"comba", comba_naive, comba_chunk, /*delta=*/true,
                                                /*normalized=*/false, comba_write};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "comba", true, true);
  const int64_t value_heads = p.get_int("num_v_heads", c.q_heads);
  check_size(c.kind, "num_v_heads", value_heads, 1 << 16);
  c.k_heads = c.q_heads;
  c.heads = c.v_heads = c.state_heads = value_heads;   // value head j uses q and k head j / (v heads / q heads)
  c.decay_width = 1;
  c.decay_heads = c.beta_heads = value_heads;
  c.decay_input = c.beta_input = true;
  c.erase_key = true;
  c.norm = "o_norm.weight";
  if (!c.gate.empty()) c.gate = "sigmoid";
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  w.push_back({"a_proj.weight", {c.heads, d_model}});
  w.push_back({"b_proj.weight", {c.heads, d_model}});
  w.push_back({"A_log", {c.heads}});
  w.push_back({"dt_bias", {c.heads}});
  if (p.get_bool("use_inner_decay", true)) w.push_back({"decay", {c.q_heads}});
  if (p.get_bool("use_output_correction", true)) w.push_back({"D", {c.q_heads}});
  return w;
}

// Repeats heads (axis 2), or a vector of heads (axis 0), to `heads` of them.
at::Tensor over(const at::Tensor& x, int64_t axis, int64_t heads) {
  return x.size(axis) == heads ? x : x.repeat_interleave(heads / x.size(axis), axis);
}

class Comba : public RecurrentLayer {
 public:
  Comba(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)) {}

 protected:
  // p = sigmoid(decay_h) k finds what is erased; the query leaves D_h p out. All three are then of unit length.
  void map_qkv(const at::Tensor (&qkv)[3], RecurrenceInput& r) const override {
    const bool convolved = config().conv_size != 0;
    at::Tensor q = convolved ? qkv[0] : at::silu(qkv[0]), k = convolved ? qkv[1] : at::silu(qkv[1]), p = k;
    if (at::Tensor d = maybe("decay"); d.defined())
      p = (k * over(d, 0, k.size(2)).sigmoid().unsqueeze(-1)).to(k.scalar_type());
    if (at::Tensor d = maybe("D"); d.defined()) {
      const int64_t heads = std::max(q.size(2), p.size(2));
      q = (over(q, 2, heads) - over(d, 0, heads).unsqueeze(-1) * over(p, 2, heads)).to(k.scalar_type());
    }
    r.q = l2_norm(q);
    r.k = l2_norm(k);
    r.a = l2_norm(p);
    r.v = convolved ? qkv[2] : at::silu(qkv[2]);
  }
  at::Tensor decay(const MixerInput& in) const override {
    at::Tensor a = at_least_float32(project_heads(in, "decay", weight("a_proj.weight"), {}, config().heads,
                                                  config().heads));
    at::Tensor rate = at_least_float32(weight("A_log")).exp().unsqueeze(-1);
    return -rate * at::softplus(a + at_least_float32(weight("dt_bias")).unsqueeze(-1));
  }
  at::Tensor beta(const MixerInput& in) const override {
    at::Tensor logit = project_heads(in, "beta", weight("b_proj.weight"), {}, config().heads, config().heads);
    return at_least_float32(logit).squeeze(-1).sigmoid();
  }
};

}  // namespace

void register_comba(Registry& registry) {
  MixerKind k;
  k.name = "comba";
  k.paper = "arXiv 2506.02475";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Comba>(p, d_model, std::move(w));
  };
  k.op = [](const MixerOpRequest& request) {
    RecurrenceOp op{kRecurrence, "g", false};
    op.a = "p";
    return run_recurrence_op(op, request);
  };
  k.cases = comba_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
