// FalconMamba in transformers' format (`falcon_mamba`).
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer = read_mamba1_layer(config, where);
  layer.mixer_params.set("has_bcdt_norm", true);
  const double eps = json_float(config, "mixer_rms_eps", 1e-6, where);
  if (!(eps > 0 && eps < 1))
    throw Error(StatusCode::kBadInput, "field 'mixer_rms_eps' is " + std::to_string(eps), where, "1e-6 is usual");
  layer.mixer_params.set("bcdt_norm_eps", eps);
  return read_mamba_model(config, where, layer, true);
}

}  // namespace

void register_falcon_mamba(Registry& registry) {
  registry.add({"falcon_mamba", {"falcon_mamba"}, read, bind_mamba_model, tied_head});
}

}  // namespace microtome::families
