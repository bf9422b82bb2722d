// Linear attention in flash-linear-attention's format (`linear_attn`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  int64_t heads = read_size(config, "num_heads", where);
  int64_t kv = read_size(config, "num_kv_heads", heads, where);
  divide(heads, kv, "num_heads", "num_kv_heads", where);
  layer.mixer = "linear_attn";
  p.set("num_heads", heads);
  p.set("num_kv_heads", kv);
  p.set("head_k", expanded_head(config, "expand_k", 1.0, hidden, heads, where));
  p.set("head_v", expanded_head(config, "expand_v", 1.0, hidden, heads, where));
  p.set("feature_map", json_string(config, "feature_map", "elementwise_product", where));
  p.set("tie_feature_map_qk", json_bool(config, "tie_feature_map_qk", false, where));
  p.set("norm_q", json_bool(config, "norm_q", false, where));
  p.set("norm_k", json_bool(config, "norm_k", false, where));
  p.set("norm_feature_map", json_bool(config, "norm_feature_map", false, where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_linear_attn(Registry& registry) {
  registry.add({"linear_attn", {"linear_attn"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
