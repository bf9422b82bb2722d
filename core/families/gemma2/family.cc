// Gemma 2 (transformers' `gemma2`): norms before and after each part, soft-capped scores and logits, every other layer
// with a window.
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where, true);
  NormConfig norm{NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false, 1};
  d.all_norms(norm);
  d.layer.post1 = d.layer.post2 = norm;
  d.model.embed_scale = std::sqrt(static_cast<double>(d.model.d_model));
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  Params& p = d.attention();
  p.set("o_bias", bias);
  const double scalar = json_float(config, "query_pre_attn_scalar", 256.0, where);
  if (!(scalar > 0))
    throw Error(StatusCode::kBadInput, "field 'query_pre_attn_scalar' is " + std::to_string(scalar), where, "it must be positive");
  p.set("scale", 1 / std::sqrt(scalar));
  p.set("softcap", json_float(config, "attn_logit_softcapping", 0.0, where));
  d.model.logit_softcap = json_float(config, "final_logit_softcapping", 0.0, where);
  d.layer.channel.activation = read_activation(config, "hidden_activation", "gelu_pytorch_tanh", where);
  read_rope(config, d.head_dim, where, p);
  const int64_t window = read_size(config, "sliding_window", 4096, where);
  std::vector<std::string> types = read_layer_types(
      config, d.n_layers, {"full_attention", "sliding_attention"},
      [](int64_t i) { return i % 2 == 0 ? "sliding_attention" : "full_attention"; }, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] == "sliding_attention") l.mixer_params.set("window", window);
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  names.post1 = "post_attention_layernorm";
  names.norm2 = "pre_feedforward_layernorm";
  names.post2 = "post_feedforward_layernorm";
  return bind_decoder(c, has, names);
}

}  // namespace

void register_gemma2(Registry& registry) { registry.add({"gemma2", {"gemma2"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
