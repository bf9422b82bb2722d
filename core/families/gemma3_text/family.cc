// Gemma 3, text (transformers' `gemma3_text`): Gemma 2's block with norms on q and k; five layers of six have a window and
// rotary positions of their own.
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "use_bidirectional_attention", where);
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
  p.set("qk_norm", true);
  p.set("norm_eps", norm.eps);
  p.set("norm_offset", 1.0);
  d.model.logit_softcap = json_float(config, "final_logit_softcapping", 0.0, where);
  d.layer.channel.activation = read_activation(config, "hidden_activation", "gelu_pytorch_tanh", where);
  const int64_t window = read_size(config, "sliding_window", 4096, where), head_dim = d.head_dim;
  const int64_t every = read_size(config, "sliding_window_pattern", read_size(config, "_sliding_window_pattern", 6, where), where);
  std::vector<std::string> types = read_layer_types(
      config, d.n_layers, {"full_attention", "sliding_attention"},
      [&](int64_t i) { return (i + 1) % every ? "sliding_attention" : "full_attention"; }, where);
  // The older spelling: rope_theta and rope_scaling are the full layers'; the others have a base of their own, unscaled.
  Json local = config;
  if (!config.contains("rope_parameters")) {
    local.erase("rope_scaling");
    local["rope_theta"] = json_float(config, "rope_local_base_freq", 10000.0, where);
  }
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    const std::string& type = types[static_cast<size_t>(i)];
    const bool sliding = type == "sliding_attention";
    if (sliding) l.mixer_params.set("window", window);
    read_rope(sliding ? local : config, head_dim, where, l.mixer_params, {sliding ? 10000.0 : 1000000.0, 1}, type);
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

void register_gemma3_text(Registry& registry) {
  registry.add({"gemma3_text", {"gemma3_text"}, read, bind, decoder_ignorable});
}

}  // namespace microtome::families
