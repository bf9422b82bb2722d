// HGRN2 in flash-linear-attention's format (`hgrn2`).
#include "core/families/config_read.h"
#include "core/families/lower_bounds.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "use_short_conv", where);
  LayerConfig layer;
  layer.mixer = "hgrn2";
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where), head_k, heads;
  if (config.contains("expand_ratio") && config["expand_ratio"].is_null()) {
    heads = read_size(config, "num_heads", where);
    head_k = divide(hidden, heads, "hidden_size", "num_heads", where);
  } else {
    head_k = read_size(config, "expand_ratio", 128, where);
    heads = divide(hidden, head_k, "hidden_size", "expand_ratio", where);
  }
  p.set("num_heads", heads);
  p.set("head_k", head_k);
  p.set("head_v", divide(hidden, heads, "hidden_size", "the number of heads", where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  p.set("norm_eps", 1e-5);   // the reference's fused norm and projection takes no other
  p.set("use_lower_bound", json_bool(config, "use_lower_bound", true, where));
  ModelConfig out = read_fla_model(config, where, layer);
  number_layers(out, layer.mixer);
  return out;
}

}  // namespace

void register_hgrn2(Registry& registry) {
  registry.add({"hgrn2", {"hgrn2"}, read, bind_with_lower_bounds, lower_bounds_ignorable});
}

}  // namespace microtome::families
