// Qwen3 (transformers' `qwen3`): RMS norms on q and k by head, windows on the upper layers where asked for.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-6, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  d.attention().set("qk_norm", true);
  d.attention().set("norm_eps", eps);
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

void register_qwen3(Registry& registry) { registry.add({"qwen3", {"qwen3"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
