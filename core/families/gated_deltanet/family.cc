// Gated DeltaNet in flash-linear-attention's format (`gated_deltanet`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  int64_t heads = read_size(config, "num_heads", where);
  (void)hidden;
  int64_t value_heads = read_size(config, "num_v_heads", heads, where);
  divide(value_heads, heads, "num_v_heads", "num_heads", where);
  int64_t head_dim = read_size(config, "head_dim", 256, where);
  double expand_v = json_float(config, "expand_v", 2.0, where);
  if (!(expand_v > 0 && expand_v <= 64))
    throw Error(StatusCode::kBadInput, "field 'expand_v' is out of range", where, "it must lie between 0 and 64");
  layer.mixer = "gated_delta_rule";
  p.set("num_heads", heads);
  p.set("num_v_heads", value_heads);
  p.set("head_k", head_dim);
  p.set("head_v", static_cast<int64_t>(static_cast<double>(head_dim) * expand_v));
  p.set("use_short_conv", json_bool(config, "use_short_conv", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_output_gate", json_bool(config, "use_gate", true, where));
  p.set("gate_activation", json_string(config, "output_gate_activation", "swish", where));
  p.set("allow_neg_eigval", json_bool(config, "allow_neg_eigval", false, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_gated_deltanet(Registry& registry) {
  registry.add({"gated_deltanet", {"gated_deltanet"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
