// MesaNet in flash-linear-attention's format (`mesa_net`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  if (!json_bool(config, "use_short_conv", true, where))
    throw Error(StatusCode::kUnsupported, "field 'use_short_conv' is false", where, "the reference always has the convolution");
  LayerConfig layer;
  layer.mixer = "mesa_net";
  Params& p = layer.mixer_params;
  int64_t head_dim = read_size(config, "head_dim", 128, where);
  p.set("num_heads", read_size(config, "num_heads", 16, where));
  p.set("head_k", head_dim);
  p.set("head_v", head_dim);
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", false, where));
  double least = json_float(config, "lambda_lower_bound", 0.25, where);
  if (!(least >= 0 && least <= 1e6))
    throw Error(StatusCode::kBadInput, "field 'lambda_lower_bound' is " + std::to_string(least), where,
                "it must lie between 0 and 1e6");
  p.set("ridge_least", least);
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  // max_cg_step_training and max_cg_step_decoding bound the reference's iteration; the solve here is exact.
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_mesa_net(Registry& registry) {
  registry.add({"mesa_net", {"mesa_net"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
