// HGRN in flash-linear-attention's format (`hgrn`).
#include "core/families/config_read.h"
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
  for (size_t i = 0; i < out.layers.size(); ++i) {
    if (out.layers[i].mixer != layer.mixer) continue;
    out.layers[i].mixer_params.set("layer_idx", static_cast<int64_t>(i));
    out.layers[i].mixer_params.set("num_layers", static_cast<int64_t>(out.layers.size()));
  }
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& config, const Stored&) {
  std::vector<TensorBinding> out = bind_fla_model(config);
  for (TensorBinding& b : out)
    if (b.canonical.ends_with(".attn.lower_bounds")) b.source = "model.lower_bounds";
  return out;
}

}  // namespace

void register_hgrn(Registry& registry) {
  // A model whose only recurrent layer is its first has bounds that nothing reads.
  registry.add({"hgrn", {"hgrn"}, read, bind,
                [](const std::string& name) { return name == "lm_head.weight" || name == "model.lower_bounds"; }});
}

}  // namespace microtome::families
