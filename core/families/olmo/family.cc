// OLMo (transformers' `olmo`): LayerNorm without weights, q, k and v cut to a range where the config says so.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kLayer, 1e-5, false, false});
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  const double clip = json_float(config, "clip_qkv", 0.0, where);
  if (!(clip >= 0))
    throw Error(StatusCode::kBadInput, "field 'clip_qkv' is " + std::to_string(clip), where, "it must be positive, or null");
  d.attention().set("clip_qkv", clip);
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

}  // namespace

void register_olmo(Registry& registry) { registry.add({"olmo", {"olmo"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
