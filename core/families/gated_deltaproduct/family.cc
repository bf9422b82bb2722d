// Gated DeltaProduct in flash-linear-attention's format (`gated_deltaproduct`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  layer.mixer = "gated_delta_product";
  Params& p = layer.mixer_params;
  read_delta_heads(config, 256, 2.0, where, p);
  int64_t steps = read_size(config, "num_householder", 1, where);
  if (steps > 64)
    throw Error(StatusCode::kBadInput, "field 'num_householder' is " + std::to_string(steps), where,
                "it must lie between 1 and 64");
  p.set("num_householder", steps);
  p.set("use_forget_gate", json_bool(config, "use_forget_gate", false, where));
  p.set("allow_neg_eigval", json_bool(config, "allow_neg_eigval", false, where));
  p.set("use_short_conv", json_bool(config, "use_short_conv", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", true, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_gated_deltaproduct(Registry& registry) {
  registry.add({"gated_deltaproduct", {"gated_deltaproduct"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
