#include <ATen/ATen.h>

#include "core/mixers/case_list.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "cosine_attention";
// Plain linear attention, once q and k have length 1 and k is divided by a power of the number of keys it stands among.
constexpr LinearRecurrence::Kind kRecurrence = {"cosine_attention", linear_attn_naive, linear_attn_chunk};

at::Tensor unit(const at::Tensor& x) { return x / x.norm(2, -1, true).clamp_min(1e-12); }

// k [batch, pos, head, d], m [head]: k_s / c_s^sigmoid(m). c_s counts the keys up to s, or all of them.
at::Tensor shortened(const at::Tensor& k, const at::Tensor& m, int64_t first_pos, bool causal) {
  const int64_t T = k.size(1);
  at::Tensor count = causal ? at::arange(first_pos + 1, first_pos + T + 1, k.options())
                            : at::full({T}, static_cast<double>(T), k.options());
  return k / count.view({T, 1}).pow(m.to(k.scalar_type()).sigmoid()).unsqueeze(-1);
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, kKind, false, false);
  if (c.k_heads != c.heads)
    throw Error(StatusCode::kUnsupported, "num_kv_heads differs from num_heads", "mixer cosine_attention", "leave it out");
  return c;
}

bool causal(const Params& p) { return p.get_bool("causal", true); }

MixerInfo make_info(const Params& p, int64_t d_model) {
  return causal(p) ? layer_info(read_config(p, d_model)) : pattern_info(read_pattern_params(p, d_model, kKind));
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = causal(p) ? layer_weights(c) : pattern_weights(read_pattern_params(p, d_model, kKind));
  w.push_back({"norm_const", {c.heads}});
  return w;
}

class CosineAttention : public RecurrentLayer {
 public:
  CosineAttention(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return unit(at_least_float32(q)); }
  at::Tensor map_k(const at::Tensor& k) const override { return unit(at_least_float32(k)); }
  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState*, HookScope& hooks, const MixerRun& run) const override {
    r.k = shortened(r.k, weight("norm_const"), hooks.first_pos(), true);
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }
};

class CosineBothWays : public PatternLayer {
 public:
  CosineBothWays(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_pattern_params(p, d_model, kKind), std::move(w), weight_specs(p, d_model)) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    return at::matmul(unit(q), keys(k).transpose(2, 3));
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    return at::matmul(unit(q), at::matmul(keys(k).transpose(2, 3), v));
  }

 private:
  at::Tensor keys(const at::Tensor& k) const {
    return heads_first(shortened(heads_first(unit(k)), weights().at("norm_const"), 0, false));
  }
};

MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request);
  auto m = request.inputs.find("m");
  if (m == request.inputs.end() || m->second.dim() != 1 || m->second.size(0) != in.q.size(1))
    throw Error(StatusCode::kBadInput, "input 'm' must be [head]");
  const bool one_way = request.scalars.get_bool("causal", true);
  at::Tensor q = unit(heads_first(in.q)), k = shortened(unit(heads_first(in.k)), m->second, 0, one_way);
  if (one_way) {
    MixerOpRequest plain = request;
    plain.inputs["q"] = q;
    plain.inputs["k"] = k;
    plain.scalars.set("scale", 1.0);
    return run_recurrence_op({kRecurrence, "", false}, plain);
  }
  q = heads_first(q);
  k = heads_first(k);
  MixerOpResult out;
  at::Tensor a = at::matmul(q, k.transpose(2, 3));
  const bool naive = request.form == MixerForm::kNaive;
  out["o"] = heads_first(naive ? at::matmul(a, in.v) : at::matmul(q, at::matmul(k.transpose(2, 3), in.v)));
  if (request.implied) out["A"] = a;
  return out;
}

}  // namespace

void register_cosine_attention(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"cottention"};
  k.paper = "arXiv 2409.18747";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    if (!causal(p)) return std::make_unique<CosineBothWays>(p, d_model, std::move(w));
    return std::make_unique<CosineAttention>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
             make_case("short_conv", 67, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"use_short_conv", true}}),
             make_case("both_ways", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 12_n}, {"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
