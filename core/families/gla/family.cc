// Gated linear attention in flash-linear-attention's format (`gla`).
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
  layer.mixer = "gla";
  p.set("num_heads", heads);
  p.set("num_kv_heads", kv);
  p.set("head_k", expanded_head(config, "expand_k", 0.5, hidden, heads, where));
  p.set("head_v", expanded_head(config, "expand_v", 1.0, hidden, heads, where));
  p.set("feature_map", json_string(config, "feature_map", "identity", where));
  p.set("use_short_conv", json_bool(config, "use_short_conv", false, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", true, where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  if (config.contains("clamp_min") && !config["clamp_min"].is_null())
    p.set("clamp_min", json_float(config, "clamp_min", where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_gla(Registry& registry) {
  registry.add({"gla", {"gla"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
