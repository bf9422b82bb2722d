// Kimi Delta Attention in flash-linear-attention's format (`kda`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  layer.mixer = "kda";
  Params& p = layer.mixer_params;
  read_delta_heads(config, 128, 1.0, where, p);
  p.set("allow_neg_eigval", json_bool(config, "allow_neg_eigval", false, where));
  // safe_gate only tells a kernel that the decay is bounded; lower_bound is what bounds it.
  double bound = json_float(config, "lower_bound", 0.0, where);
  if (!(bound <= 0 && bound >= -1000))
    throw Error(StatusCode::kBadInput, "field 'lower_bound' is " + std::to_string(bound), where,
                "it is the least log decay, a negative number such as -5");
  p.set("lower_bound", bound);
  p.set("use_short_conv", json_bool(config, "use_short_conv", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_kda(Registry& registry) {
  registry.add({"kda", {"kda"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
