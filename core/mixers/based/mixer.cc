#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

// Linear attention with a normaliser of 1e-6 where linear_attn's is 1e-10: it divides scale S q by scale n . q + 1e-10,
// which with scale 1e-4 is S q / (n . q + 1e-6).
constexpr LinearRecurrence::Kind kRecurrence = {"based", linear_attn_naive, linear_attn_chunk, false, true};
constexpr double kScale = 1e-4;

bool is_taylor(const std::string& map) {
  if (map != "taylor" && map != "rebased")
    throw Error(StatusCode::kUnsupported, "feature_map is '" + map + "'", "mixer based", "use taylor or rebased");
  return map == "taylor";
}

// phi(q) . phi(k) = 1 + x + x^2 / 2 (taylor) or x^2 (rebased) with x = q . k.
at::Tensor features(const at::Tensor& x, bool taylor) {
  at::Tensor square = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2);
  if (!taylor) return square;
  return at::cat({at::ones_like(x.slice(-1, 0, 1)), x, square * std::sqrt(0.5)}, -1);
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "based", false, false);
  check_size(c.kind, "head_k", c.head_k, 512);           // before it is squared
  const bool taylor = is_taylor(p.get_string("feature_map", "taylor"));
  c.d_k = c.head_k * c.head_k + (taylor ? 1 + c.head_k : 0);
  c.normalized = true;
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  if (!is_taylor(p.get_string("feature_map", "taylor"))) {
    w.push_back({"feature_map.gamma", {c.head_k}});
    w.push_back({"feature_map.beta", {c.head_k}});
  }
  return w;
}

class Based : public RecurrentLayer {
 public:
  Based(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        taylor_(is_taylor(p.get_string("feature_map", "taylor"))) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override {
    return features(normed(q) / std::sqrt(static_cast<double>(config().head_k)), taylor_);
  }
  at::Tensor map_k(const at::Tensor& k) const override { return features(normed(k), taylor_); }
  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState*, HookScope& hooks, const MixerRun& run) const override {
    r.scale = kScale;
    return driver().run(r, s, hooks, run);
  }

 private:
  // ReBased squares what a layer norm has shifted and stretched.
  at::Tensor normed(const at::Tensor& x) const {
    at::Tensor y = at_least_float32(x);
    if (taylor_) return y;
    return at::layer_norm(y, {y.size(-1)}, weight("feature_map.gamma").to(y.scalar_type()),
                          weight("feature_map.beta").to(y.scalar_type()), config().norm_eps);
  }
  bool taylor_;
};

MixerOpResult op(const MixerOpRequest& request) {
  const bool taylor = is_taylor(request.scalars.get_string("kind", "taylor"));
  at::Tensor q = op_input(request, "q", 4), k = op_input(request, "k", 4);
  MixerOpRequest mapped = request;
  const double scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(q.size(3))));
  mapped.inputs["q"] = features(q * scale, taylor);
  mapped.inputs["k"] = features(k, taylor);
  mapped.scalars.set("scale", kScale);
  return run_recurrence_op({kRecurrence, "", false}, mapped);
}

}  // namespace

void register_based(Registry& registry) {
  MixerKind k;
  k.name = "based";
  k.aliases = {"rebased"};
  k.paper = "arXiv 2402.18668";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Based>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("taylor", 19, {{"num_heads", 2_n}, {"head_k", 4_n}, {"head_v", 16_n}}),
             make_case("taylor_short_conv", 67, {{"num_heads", 2_n}, {"head_k", 5_n}, {"head_v", 8_n},
                  {"use_short_conv", true}}),
             make_case("rebased", 19, {{"num_heads", 2_n}, {"head_k", 4_n}, {"head_v", 8_n},
                  {"feature_map", std::string("rebased")}, {"norm_eps", 1e-5}})};
  // The normaliser of ReBased is a sum of squares, near 0 for the first tokens, so float32 keeps fewer digits there.
  k.cases.back().atol = k.cases.back().rtol = 4e-5;
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
