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
  const std::vector<int64_t> windows = read_upper_windows(config, d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) { l.mixer_params.set("window", windows[static_cast<size_t>(i)]); });
}

}  // namespace

void register_qwen3(Registry& registry) { registry.add({"qwen3", {"qwen3"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
