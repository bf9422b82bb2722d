// Mistral (transformers' `mistral`): Llama with a sliding window.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false});
  // The library's own default applies only where the key is absent; null means no window.
  const int64_t window = config.contains("sliding_window") ? read_window(config, "sliding_window", where) : 4096;
  d.attention().set("window", window);
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

}  // namespace

void register_mistral(Registry& registry) { registry.add({"mistral", {"mistral"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
