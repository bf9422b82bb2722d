#include "core/families/rwkv_shell.h"

namespace microtome::families {

ModelConfig read_rwkv_shell(const Json& config, bool receptance, const std::string& where) {
  refuse_option(config, "attn", where);
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "hidden_size", where);
  out.context_length = read_size(config, "max_position_embeddings", 0, where);
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  const double eps = json_float(config, "norm_eps", 1e-5, where);
  const NormConfig norm{NormConfig::Kind::kLayer, eps, true, json_bool(config, "norm_bias", true, where)};
  out.final_norm = norm;
  if (json_bool(config, "norm_first", true, where)) out.embed_norm = norm;
  int64_t n_layers = read_size(config, "num_hidden_layers", where);
  if (n_layers > 10000)
    throw Error(StatusCode::kBadInput, "field 'num_hidden_layers' is " + std::to_string(n_layers), where,
                "it must lie between 1 and 10000");
  ChannelMixerConfig mlp;
  mlp.d_mlp = read_size(config, "intermediate_size", 0, where);
  if (!mlp.d_mlp) {
    double ratio = json_float(config, "hidden_ratio", receptance ? 3.5 : 4.0, where);
    if (!(ratio > 0 && ratio <= 64))
      throw Error(StatusCode::kBadInput, "field 'hidden_ratio' is " + std::to_string(ratio), where,
                  "it must lie between 0 and 64");
    mlp.d_mlp = (static_cast<int64_t>(static_cast<double>(out.d_model) * ratio) + 31) / 32 * 32;
  }
  mlp.activation = read_activation(config, "hidden_act", "sqrelu", where);
  mlp.gated = false;
  mlp.shift = ChannelMixerConfig::Shift::kToEarlier;
  mlp.receptance = receptance;
  LayerConfig layer;
  layer.norm1 = layer.norm2 = norm;
  layer.channel = mlp;
  out.layers.assign(static_cast<size_t>(n_layers), layer);
  return out;
}

std::vector<TensorBinding> bind_rwkv_shell(const ModelConfig& c, const RwkvChannelNames& names) {
  std::vector<TensorBinding> out;
  auto plain = [&](const std::string& canonical, const std::string& source, std::vector<int64_t> shape) {
    TensorBinding b;
    b.canonical = canonical;
    b.source = source;
    b.source_shape = std::move(shape);
    out.push_back(std::move(b));
  };
  plain("embed.weight", "model.embeddings.weight", {c.vocab_size, c.d_model});
  if (c.embed_norm) bind_norm(out, *c.embed_norm, c.d_model, "embed.ln", "model.layers.0.pre_norm");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    std::string n = std::to_string(i), to = "blocks." + n + ".", from = "model.layers." + n + ".", ffn = from + "ffn.";
    const LayerConfig& l = c.layers[i];
    bind_norm(out, l.norm1, c.d_model, to + "ln1", from + "attn_norm");
    for (TensorBinding& b : bind_mixer_weights(l, c.d_model, to + "attn.", from + "attn.")) out.push_back(std::move(b));
    bind_norm(out, l.norm2, c.d_model, to + "ln2", from + "ffn_norm");
    plain(to + "mlp.shift.up", ffn + names.shift_up, {c.d_model});
    plain(to + "mlp.up.weight", ffn + names.up, {l.channel.d_mlp, c.d_model});
    plain(to + "mlp.down.weight", ffn + "value.weight", {c.d_model, l.channel.d_mlp});
    if (!l.channel.receptance) continue;
    plain(to + "mlp.shift.receptance", ffn + names.shift_receptance, {c.d_model});
    plain(to + "mlp.receptance.weight", ffn + names.receptance, {c.d_model, c.d_model});
  }
  bind_norm(out, c.final_norm, c.d_model, "ln_final", "model.norm");
  if (!c.tied_unembedding) plain("unembed.weight", "lm_head.weight", {c.vocab_size, c.d_model});
  return out;
}

}  // namespace microtome::families
