// Llama (transformers' `llama`): RMSNorm, rotary positions with every known scaling, grouped key/value heads, gated MLP.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false});
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  d.layer.channel.bias = json_bool(config, "mlp_bias", false, where);
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

}  // namespace

void register_llama(Registry& registry) { registry.add({"llama", {"llama"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
