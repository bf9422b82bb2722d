// Qwen2 and Qwen2.5 (transformers' `qwen2`): Llama with biases on q, k and v, and windows on the upper layers.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false});
  d.qkv_bias(true);
  read_rope(config, d.head_dim, where, d.attention());
  const std::vector<int64_t> windows = read_upper_windows(config, d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) { l.mixer_params.set("window", windows[static_cast<size_t>(i)]); });
}

}  // namespace

void register_qwen2(Registry& registry) { registry.add({"qwen2", {"qwen2"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
