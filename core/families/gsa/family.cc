// Gated slot attention in flash-linear-attention's format (`gsa`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  layer.mixer = "gsa";
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  int64_t heads = read_size(config, "num_heads", 4, where);
  int64_t kv = read_size(config, "num_kv_heads", heads, where);
  divide(heads, kv, "num_heads", "num_kv_heads", where);
  int64_t head_k = expanded_head(config, "expand_k", 1.0, hidden, heads, where);
  p.set("num_heads", heads);
  p.set("num_kv_heads", kv);
  p.set("head_k", head_k);
  p.set("head_v", expanded_head(config, "expand_v", 1.0, hidden, heads, where));
  p.set("num_slots", read_size(config, "num_slots", head_k, where));
  std::string map = json_string(config, "feature_map", "swish", where);
  if (map != "swish" && map != "relu")
    throw Error(StatusCode::kUnsupported, "field 'feature_map' is '" + map.substr(0, 60) + "'", where,
                "supported are swish and relu");
  p.set("feature_map", map);
  double normalizer = json_float(config, "gate_logit_normalizer", 8.0, where);
  if (!(normalizer > 0))
    throw Error(StatusCode::kBadInput, "field 'gate_logit_normalizer' is " + std::to_string(normalizer), where,
                "it must be a positive number");
  p.set("gate_logit_normalizer", normalizer);
  p.set("use_short_conv", json_bool(config, "use_short_conv", false, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  p.set("norm_eps", 1e-5);   // the reference's fused norm and projection takes no other
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_gsa(Registry& registry) {
  registry.add({"gsa", {"gsa"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
