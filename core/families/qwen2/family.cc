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
  const bool windows = json_bool(config, "use_sliding_window", false, where);
  const int64_t window = windows ? read_size(config, "sliding_window", 4096, where) : 0;
  const int64_t full = json_int(config, "max_window_layers", 28, where);
  std::vector<std::string> types = read_layer_types(
      config, d.n_layers, {"full_attention", "sliding_attention"},
      [&](int64_t i) { return windows && i >= full ? "sliding_attention" : "full_attention"; }, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] == "sliding_attention") l.mixer_params.set("window", window);
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  return bind_decoder(c, has);
}

}  // namespace

void register_qwen2(Registry& registry) { registry.add({"qwen2", {"qwen2"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
