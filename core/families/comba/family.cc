// Comba in flash-linear-attention's format (`comba`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  layer.mixer = "comba";
  Params& p = layer.mixer_params;
  read_delta_heads(config, 256, 2.0, where, p);
  // correction_factor is where the weights D started from; the checkpoint holds what they became.
  p.set("use_output_correction", json_bool(config, "use_output_correction", true, where));
  p.set("use_inner_decay", json_bool(config, "use_inner_decay", true, where));
  p.set("use_short_conv", json_bool(config, "use_short_conv", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", true, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_comba(Registry& registry) {
  registry.add({"comba", {"comba"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
