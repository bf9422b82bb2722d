// Attention with bounded memory control in flash-linear-attention's format (`abc`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "use_input_gate", where);
  LayerConfig layer;
  layer.mixer = "abc";
  Params& p = layer.mixer_params;
  int64_t hidden = read_size(config, "hidden_size", where);
  int64_t heads = read_size(config, "num_heads", 4, where);
  int64_t head_k = expanded_head(config, "expand_k", 0.5, hidden, heads, where);
  bool rope = json_bool(config, "use_rope", true, where);
  if (rope && head_k % 2 != 0)
    throw Error(StatusCode::kBadInput, "hidden_size * expand_k / num_heads is " + std::to_string(head_k), where,
                "it must be even where use_rope is on");
  p.set("num_heads", heads);
  p.set("head_k", head_k);
  p.set("head_v", expanded_head(config, "expand_v", 1.0, hidden, heads, where));
  p.set("num_slots", read_size(config, "num_slots", head_k, where));
  // Null is no bound.
  double least = -32, most = 32;
  for (auto [key, value, none] : {std::tuple{"clamp_min", &least, -1e30}, {"clamp_max", &most, 1e30}})
    if (config.contains(key)) *value = config[key].is_null() ? none : json_float(config, key, where);
  if (!(least < most))
    throw Error(StatusCode::kBadInput, "field 'clamp_min' is " + std::to_string(least), where,
                "it must lie below clamp_max " + std::to_string(most));
  p.set("clamp_min", least);
  p.set("clamp_max", most);
  p.set("use_rope", rope);
  p.set("use_output_gate", json_bool(config, "use_output_gate", true, where));
  p.set("use_short_conv", json_bool(config, "use_short_conv", false, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("elementwise_affine", json_bool(config, "elementwise_affine", true, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_abc(Registry& registry) {
  registry.add({"abc", {"abc"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
