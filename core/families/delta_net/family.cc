// DeltaNet in flash-linear-attention's format (`delta_net`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  int64_t heads = read_size(config, "num_heads", where);
  layer.mixer = "delta_rule";
  p.set("num_heads", heads);
  p.set("head_k", expanded_head(config, "expand_k", 1.0, hidden, heads, where));
  p.set("head_v", expanded_head(config, "expand_v", 1.0, hidden, heads, where));
  p.set("use_short_conv", json_bool(config, "use_short_conv", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_beta", json_bool(config, "use_beta", true, where));
  p.set("use_output_gate", json_bool(config, "use_gate", false, where));
  p.set("use_output_norm", json_bool(config, "use_output_norm", true, where));
  p.set("qk_activation", json_string(config, "qk_activation", "silu", where));
  p.set("qk_norm", json_string(config, "qk_norm", "l2", where));
  p.set("allow_neg_eigval", json_bool(config, "allow_neg_eigval", false, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_delta_net(Registry& registry) {
  registry.add({"delta_net", {"delta_net"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
