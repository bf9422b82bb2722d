// Gemma 3, text (transformers' `gemma3_text`): Gemma 2's block with norms on q and k; five layers of six have a window and
// rotary positions of their own.
#include "core/families/gemma_block.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "use_bidirectional_attention", where);
  Decoder d = read_gemma2_block(config, where);
  Params& p = d.attention();
  p.set("qk_norm", true);
  p.set("norm_eps", d.layer.norm1.eps);
  p.set("norm_offset", 1.0);
  const int64_t window = read_size(config, "sliding_window", 4096, where), head_dim = d.head_dim;
  const int64_t every = read_size(config, "sliding_window_pattern", read_size(config, "_sliding_window_pattern", 6, where), where);
  const std::vector<int64_t> windows =
      read_windows(config, d.n_layers, window, [&](int64_t i) { return (i + 1) % every != 0; }, where);
  // The older spelling: rope_theta and rope_scaling are the full layers'; the others have a base of their own, unscaled.
  Json local = config;
  if (!config.contains("rope_parameters")) {
    local.erase("rope_scaling");
    local["rope_theta"] = json_float(config, "rope_local_base_freq", 10000.0, where);
  }
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    const bool sliding = windows[static_cast<size_t>(i)] > 0;
    l.mixer_params.set("window", windows[static_cast<size_t>(i)]);
    read_rope(sliding ? local : config, head_dim, where, l.mixer_params, {sliding ? 10000.0 : 1000000.0, 1},
              sliding ? "sliding_attention" : "full_attention");
  });
}

}  // namespace

void register_gemma3_text(Registry& registry) {
  registry.add({"gemma3_text", {"gemma3_text"}, read, bind_gemma2_block, decoder_ignorable});
}

}  // namespace microtome::families
