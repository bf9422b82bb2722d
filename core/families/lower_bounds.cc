#include "core/families/lower_bounds.h"

#include "core/families/config_read.h"

namespace microtome::families {

void number_layers(ModelConfig& config, const std::string& mixer) {
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (config.layers[i].mixer != mixer) continue;
    config.layers[i].mixer_params.set("layer_idx", static_cast<int64_t>(i));
    config.layers[i].mixer_params.set("num_layers", static_cast<int64_t>(config.layers.size()));
  }
}

std::vector<TensorBinding> bind_with_lower_bounds(const ModelConfig& config, const Stored&) {
  std::vector<TensorBinding> out = bind_fla_model(config);
  for (TensorBinding& b : out)
    if (b.canonical.ends_with(".attn.lower_bounds")) b.source = "model.lower_bounds";
  return out;
}

bool lower_bounds_ignorable(const std::string& name) { return tied_head(name) || name == "model.lower_bounds"; }

}  // namespace microtome::families
