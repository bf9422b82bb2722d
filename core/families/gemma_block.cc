#include "core/families/gemma_block.h"

#include <cmath>

namespace microtome::families {

Decoder read_gemma(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where, true);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false, 1});
  d.model.embed_scale = std::sqrt(static_cast<double>(d.model.d_model));
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  // The first files say hidden_act "gelu" and mean the tanh form; hidden_activation, where given, is meant as it reads.
  d.layer.channel.activation = read_activation(config, "hidden_activation", "gelu_pytorch_tanh", where);
  return d;
}

Decoder read_gemma2_block(const Json& config, const std::string& where) {
  Decoder d = read_gemma(config, where);
  d.layer.post1 = d.layer.post2 = d.layer.norm1;
  const double scalar = json_float(config, "query_pre_attn_scalar", 256.0, where);
  if (!(scalar > 0))
    throw Error(StatusCode::kBadInput, "field 'query_pre_attn_scalar' is " + std::to_string(scalar), where, "it must be positive");
  d.attention().set("scale", 1 / std::sqrt(scalar));
  d.attention().set("softcap", json_float(config, "attn_logit_softcapping", 0.0, where));
  d.model.logit_softcap = json_float(config, "final_logit_softcapping", 0.0, where);
  return d;
}

std::vector<TensorBinding> bind_gemma2_block(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  names.post1 = "post_attention_layernorm";
  names.norm2 = "pre_feedforward_layernorm";
  names.post2 = "post_feedforward_layernorm";
  return bind_decoder(c, has, names);
}

}  // namespace microtome::families
