// HGRN in flash-linear-attention's format (`hgrn`).
#include "core/families/config_read.h"
#include "core/families/lower_bounds.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "use_short_conv", where);
  LayerConfig layer;
  layer.mixer = "hgrn";
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  p.set("width", expanded_head(config, "expand_ratio", 1.0, hidden, 1, where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  p.set("use_lower_bound", json_bool(config, "use_lower_bound", true, where));
  ModelConfig out = read_fla_model(config, where, layer);
  number_layers(out, layer.mixer);
  return out;
}

}  // namespace

void register_hgrn(Registry& registry) {
  registry.add({"hgrn", {"hgrn"}, read, bind_with_lower_bounds, lower_bounds_ignorable});
}

}  // namespace microtome::families
