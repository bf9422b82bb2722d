#include <ATen/ATen.h>

#include "core/mixers/feature_maps.h"
#include "core/mixers/linear_attn/cases.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

LinearRecurrence::Kind recurrence(bool normalized) {
  return {"linear_attn", linear_attn_naive, linear_attn_chunk, false, normalized};
}

struct Maps {
  std::string name;
  bool tied = false, norm_q = false, norm_k = false;
};

constexpr int64_t kWidestMapped = 1 << 12;   // before dpfp and taylor widen it

int64_t mapped_width(const std::string& map, int64_t d) {
  if (map == "hedgehog") return 2 * d;
  if (map == "dpfp") return 8 * d;
  if (map == "taylor") return 1 + d + d * (d + 1) / 2;
  return d;
}

Maps read_maps(const Params& p) {
  Maps m{p.get_string("feature_map", "elementwise_product"), p.get_bool("tie_feature_map_qk", false),
         p.get_bool("norm_q", false), p.get_bool("norm_k", false)};
  for (const char* known : {"elementwise_product", "elu", "relu", "identity", "t2r", "hedgehog", "dpfp", "taylor"})
    if (m.name == known) return m;
  throw Error(StatusCode::kUnsupported, "feature_map is '" + m.name + "'", "mixer linear_attn",
              "use elementwise_product, elu, relu, identity, t2r, hedgehog, dpfp or taylor");
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "linear_attn", false, false);
  check_size(c.kind, "head_k", c.head_k, kWidestMapped);
  c.d_k = mapped_width(read_maps(p).name, c.head_k);
  c.normalized = p.get_bool("norm_feature_map", false);
  c.norm = p.get_bool("use_output_norm", true) ? "norm.weight" : "";
  return c;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  Maps m = read_maps(p);
  const int64_t d = c.head_k;
  // A tied map is stored once, under either name.
  for (std::string side : {"feature_map_q.", "feature_map_k."}) {
    if (m.name == "elementwise_product") {
      for (std::string layer : {"layer1", "layer2"}) {
        w.push_back({side + layer + ".weight", {d, d}, m.tied});
        w.push_back({side + layer + ".bias", {d}, true});
      }
    } else if (m.name == "hedgehog" || m.name == "t2r") {
      w.push_back({side + "layer.weight", {d, d}, m.tied});
      w.push_back({side + "layer.bias", {d}, true});
    }
  }
  return w;
}

class LinearAttention : public RecurrentLayer {
 public:
  LinearAttention(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), recurrence(p.get_bool("norm_feature_map", false)), std::move(weights),
                       weight_specs(p, d_model)),
        maps_(read_maps(p)) {
    q_side_ = "feature_map_q.";
    k_side_ = "feature_map_k.";
    if (!maps_.tied) return;
    const char* first = maps_.name == "elementwise_product" ? "layer1.weight" : "layer.weight";
    const bool mapped = maps_.name == "elementwise_product" || maps_.name == "hedgehog" || maps_.name == "t2r";
    if (mapped && !maybe(q_side_ + first).defined()) q_side_ = k_side_;
    if (mapped && !maybe(q_side_ + first).defined())
      throw Error(StatusCode::kBadInput, "weight 'feature_map_q." + std::string(first) + "' is missing",
                  "mixer linear_attn");
    k_side_ = q_side_;
  }

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return map(q, q_side_, maps_.norm_q); }
  at::Tensor map_k(const at::Tensor& k) const override { return map(k, k_side_, maps_.norm_k); }

 private:
  at::Tensor map(const at::Tensor& x, const std::string& side, bool norm) const {
    at::Tensor y = features(x, side);
    return norm ? y / (y.sum(-1, true) + 1e-4) : y;
  }

  at::Tensor features(const at::Tensor& x, const std::string& side) const {
    if (maps_.name == "elementwise_product")
      return hadamard_map(x, weight(side + "layer1.weight"), maybe(side + "layer1.bias"),
                          weight(side + "layer2.weight"), maybe(side + "layer2.bias"));
    if (maps_.name == "hedgehog") return hedgehog_map(x, weight(side + "layer.weight"), maybe(side + "layer.bias"));
    if (maps_.name == "t2r") return t2r_map(x, weight(side + "layer.weight"), maybe(side + "layer.bias"));
    if (maps_.name == "dpfp") return dpfp_map(x);
    if (maps_.name == "taylor") return taylor_map(x);
    return activate(maps_.name, x);
  }

  Maps maps_;
  std::string q_side_, k_side_;
};

MixerOpResult op(const MixerOpRequest& request) {
  const std::string kind = request.scalars.get_string("kind", request.inputs.count("z0") ? "norm" : "plain");
  if (kind != "plain" && kind != "norm")
    throw Error(StatusCode::kBadInput, "kind is '" + kind + "'", "mixer linear_attn", "use plain or norm");
  return run_recurrence_op({recurrence(kind == "norm"), "", false}, request);
}

}  // namespace

void register_linear_attn(Registry& registry) {
  MixerKind k;
  k.name = "linear_attn";
  k.aliases = {"linear_attention"};
  k.paper = "arXiv 2006.16236";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<LinearAttention>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = linear_attn_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
