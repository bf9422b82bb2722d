#include <ATen/ATen.h>

#include "core/mixers/gla/forms.h"
#include "core/mixers/hgrn/gate.h"
#include "core/mixers/hgrn2/cases.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

// The recurrence is that of gated linear attention; what differs is where k comes from.
constexpr LinearRecurrence::Kind kRecurrence = {"hgrn2", gla_naive, gla_chunk};

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "hgrn2", false, false);
  if (c.k_heads != c.heads || c.conv_size)
    throw Error(StatusCode::kUnsupported, c.conv_size ? "use_short_conv is on" : "num_kv_heads differs from num_heads",
                "mixer hgrn2", "leave it out");
  c.k_name = "f_proj";
  c.v_name = "i_proj";
  c.decay_width = c.d_k;
  c.decay_heads = c.heads;
  c.decay_input = true;
  c.norm = "g_norm.weight";
  c.norm_whole = true;
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  for (WeightSpec& s : forget_gate_weights(read_forget_gate(p, c.kind), c.heads * c.head_k)) w.push_back(std::move(s));
  return w;
}

class Hgrn2 : public RecurrentLayer {
 public:
  Hgrn2(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        forget_(read_forget_gate(p, "hgrn2")) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return at::silu(q); }
  at::Tensor map_k(const at::Tensor& f) const override { return -at::expm1(gate(f)); }
  at::Tensor decay(const MixerInput& in) const override {
    return gate(project_heads(in, "decay", projection(1), {}, config().heads, config().heads));
  }

 private:
  at::Tensor gate(const at::Tensor& f) const { return forget_gate(forget_, f, maybe("lower_bounds")); }
  ForgetGate forget_;
};

// q_raw, f_logits [batch, pos, head, d_k], i [batch, pos, head, d_v], lower_bound [head, d_k], initial_state → o,
// final_state, and on request states and A.
MixerOpResult hgrn2_op(const MixerOpRequest& request) {
  const at::Tensor f = op_input(request, "f_logits", 4);
  at::Tensor bound;
  if (request.inputs.count("lower_bound")) {
    bound = op_input(request, "lower_bound", 2);
    if (bound.size(0) != f.size(2) || bound.size(1) != f.size(3))
      throw Error(StatusCode::kBadInput, "input 'lower_bound' has shape " + c10::str(bound.sizes()) + ", expected [" +
                                             std::to_string(f.size(2)) + ", " + std::to_string(f.size(3)) + "]");
  }
  MixerOpRequest inner = request;
  inner.inputs["gk"] = bounded_log_sigmoid(f, bound);
  inner.inputs["q"] = at::silu(op_input(request, "q_raw", 4));
  inner.inputs["k"] = -at::expm1(inner.inputs["gk"]);
  inner.inputs["v"] = op_input(request, "i", 4);
  return run_recurrence_op({kRecurrence, "gk", true}, inner);
}

}  // namespace

void register_hgrn2(Registry& registry) {
  MixerKind k;
  k.name = "hgrn2";
  k.paper = "arXiv 2404.07904";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Hgrn2>(p, d_model, std::move(w));
  };
  k.op = hgrn2_op;
  k.cases = hgrn2_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
