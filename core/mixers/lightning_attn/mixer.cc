#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/lightning_attn/cases.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/constants.h"
#include "core/mixers/registry.h"
#include "core/mixers/retention/forms.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "lightning_attn";
// The recurrence is RetNet's; what differs is the decay, which depends on the layer.
constexpr LinearRecurrence::Kind kRecurrence = {kKind, retention_naive, retention_chunk};

// Log decays [head, 1] in float64.
//   power   -2^(-8 (h+1) / H) (1 - l / (L - 1 + 1e-5) + 1e-5): MiniMax
//   linear  -(8 / H) (1 - l / L) h: flash-linear-attention; head 0 never forgets
at::Tensor log_decay(const std::string& slopes, int64_t heads, int64_t layer, int64_t layers) {
  const double H = static_cast<double>(heads), l = static_cast<double>(layer), L = static_cast<double>(layers);
  at::Tensor h = at::arange(heads, at::TensorOptions().dtype(at::kDouble)).unsqueeze(1);
  if (slopes == "linear") return h * (-8.0 / H * (1 - l / L));
  return at::exp2((h + 1) * (-8.0 / H)) * -(1 - l / (L - 1 + 1e-5) + 1e-5);
}

struct Depth {
  int64_t layer, layers;
};

Depth read_depth(const Params& p) {
  Depth d{p.get_int("layer_idx", 0), p.get_int("num_layers", 1)};
  check_size(kKind, "num_layers", d.layers, 1 << 20);
  if (d.layer < 0 || d.layer >= d.layers)
    throw Error(StatusCode::kBadInput, "layer_idx is " + std::to_string(d.layer) + ", expected 0 to num_layers - 1 = " +
                                           std::to_string(d.layers - 1), "mixer lightning_attn");
  return d;
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  Params given = p;
  if (!given.has("head_v") && given.has("head_k")) given.set("head_v", given.get_int("head_k"));
  RecurrentLayerConfig c = read_layer_params(given, d_model, kKind, true, false);
  if (c.k_heads != c.heads || c.conv_size || c.head_v != c.head_k)
    throw Error(StatusCode::kUnsupported, c.conv_size ? "use_short_conv is on"
                                          : c.k_heads != c.heads ? "num_kv_heads differs from num_heads"
                                                                 : "head_v differs from head_k",
                "mixer lightning_attn", "leave it out");
  if (!c.gate.empty()) c.gate = p.get_string("gate_activation", "sigmoid");
  c.gate_name = "output_gate";
  c.o_name = "out_proj";
  c.decay_width = 1;
  c.decay_heads = c.heads;
  c.norm = "norm.weight";
  c.norm_whole = true;
  const std::string slopes = p.get_string("slopes", "power");
  if (slopes != "power" && slopes != "linear")
    throw Error(StatusCode::kUnsupported, "slopes is '" + slopes + "'", "mixer lightning_attn", "use power or linear");
  read_depth(p);
  return c;
}

// One matrix holds q, k and v, head by head.
std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  check_layer(c);
  std::vector<WeightSpec> w = {{"qkv_proj.weight", {3 * c.heads * c.head_k, d_model}}};
  for (WeightSpec& s : layer_weights(c))
    if (s.name != "q_proj.weight" && s.name != "k_proj.weight" && s.name != "v_proj.weight") w.push_back(std::move(s));
  return w;
}

class LightningAttention : public RecurrentLayer {
 public:
  LightningAttention(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)) {
    const Depth d = read_depth(p);
    log_decay_ = log_decay(p.get_string("slopes", "power"), config().heads, d.layer, d.layers);
  }

 protected:
  at::Tensor projection(int role) const override {
    const int64_t H = config().heads, K = config().head_k;
    return weight("qkv_proj.weight").view({H, 3, K, config().d_model}).select(1, role).reshape({H * K, config().d_model});
  }
  at::Tensor map_q(const at::Tensor& q) const override { return at::silu(q); }
  at::Tensor map_k(const at::Tensor& k) const override { return at::silu(k); }
  at::Tensor map_v(const at::Tensor& v) const override { return at::silu(v); }
  at::Tensor decay(const MixerInput& in) const override {
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return on_device(log_decay_, in.x.device(), type).expand({in.x.size(0), in.x.size(1), config().heads, 1});
  }
  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState*, HookScope& hooks, const MixerRun& run) const override {
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }

 private:
  at::Tensor log_decay_;
};

// q, k, v [batch, pos, head, *], initial_state; scalars layer_idx, num_layers, scale → as retention's. The slopes are
// linear.
MixerOpResult lightning_op(const MixerOpRequest& request) {
  const at::Tensor& q = op_input(request, "q", 4);
  const Depth d = read_depth(request.scalars);
  const int64_t heads = std::max(q.size(2), op_input(request, "v", 4).size(2));
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  MixerOpRequest with_decay = request;
  with_decay.inputs["g"] = log_decay("linear", heads, d.layer, d.layers).squeeze(-1).to(q.device(), type)
                               .expand({q.size(0), q.size(1), heads});
  return run_recurrence_op({kRecurrence, "g", false}, with_decay);
}

}  // namespace

void register_lightning_attn(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"lightning_attention"};
  k.paper = "arXiv 2401.04658";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<LightningAttention>(p, d_model, std::move(w));
  };
  k.op = lightning_op;
  k.cases = lightning_attn_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
