// Gemma 2 (transformers' `gemma2`): norms before and after each part, soft-capped scores and logits, every other layer
// with a window.
#include "core/families/gemma_block.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_gemma2_block(config, where);
  read_rope(config, d.head_dim, where, d.attention());
  const int64_t window = read_size(config, "sliding_window", 4096, where);
  const std::vector<int64_t> windows =
      read_windows(config, d.n_layers, window, [](int64_t i) { return i % 2 == 0; }, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) { l.mixer_params.set("window", windows[static_cast<size_t>(i)]); });
}

}  // namespace

void register_gemma2(Registry& registry) {
  registry.add({"gemma2", {"gemma2"}, read, bind_gemma2_block, decoder_ignorable});
}

}  // namespace microtome::families
