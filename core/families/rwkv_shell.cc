#include "core/families/rwkv_shell.h"

#include "core/families/binder.h"

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
  const int64_t n_layers = read_layer_count(config, "num_hidden_layers", where);
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
  Binder out(c);
  out.add("embed.weight", "model.embeddings.weight", {c.vocab_size, c.d_model});
  if (c.embed_norm) out.norm(*c.embed_norm, "embed.ln", "model.layers.0.pre_norm");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".", ffn = from + "ffn.";
    const LayerConfig& l = c.layers[i];
    out.norm(l.norm1, to + "ln1", from + "attn_norm");
    out.mixer(i, from + "attn.");
    out.norm(l.norm2, to + "ln2", from + "ffn_norm");
    out.add(to + "mlp.shift.up", ffn + names.shift_up, {c.d_model});
    out.add(to + "mlp.up.weight", ffn + names.up, {l.channel.d_mlp, c.d_model});
    out.add(to + "mlp.down.weight", ffn + "value.weight", {c.d_model, l.channel.d_mlp});
    if (!l.channel.receptance) continue;
    out.add(to + "mlp.shift.receptance", ffn + names.shift_receptance, {c.d_model});
    out.add(to + "mlp.receptance.weight", ffn + names.receptance, {c.d_model, c.d_model});
  }
  out.norm(c.final_norm, "ln_final", "model.norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace microtome::families
