// Forgetting Transformer in flash-linear-attention's format (`forgetting_transformer`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  // The reference applies a window to what it keeps, but not to the prompt it reads.
  refuse_option(config, "window_size", where);
  if (!json_bool(config, "elementwise_affine", true, where))
    throw Error(StatusCode::kUnsupported, "field 'elementwise_affine' is false", where, "only norms with a gain are supported");
  LayerConfig layer;
  layer.mixer = "forgetting_attn";
  int64_t hidden = read_size(config, "hidden_size", where), heads = read_size(config, "num_heads", 32, where);
  int64_t kv = read_size(config, "num_kv_heads", heads, where);
  divide(heads, kv, "num_heads", "num_kv_heads", where);
  Params& p = layer.mixer_params;
  p.set("num_heads", heads);
  p.set("num_kv_heads", kv);
  p.set("head_dim", divide(hidden, heads, "hidden_size", "num_heads", where));
  p.set("qkv_bias", json_bool(config, "qkv_bias", false, where));
  p.set("qk_norm", json_bool(config, "qk_norm", false, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", false, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_forgetting_transformer(Registry& registry) {
  registry.add({"forgetting_transformer", {"forgetting_transformer"}, read, bind_fla_model,
                tied_head});
}

}  // namespace microtome::families
