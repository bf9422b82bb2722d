// RWKV-4 in transformers' format (`rwkv`).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "hidden_size", where);
  out.context_length = read_size(config, "context_length", 0, where);
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  int64_t n_layers = read_size(config, "num_hidden_layers", where);
  if (n_layers > 10000)
    throw Error(StatusCode::kBadInput, "field 'num_hidden_layers' is " + std::to_string(n_layers), where,
                "it must lie between 1 and 10000");
  // rescale_every halves the residual stream, and what is added to it, every few layers, so that half floats do not
  // overflow; the norms take it out again. It is not applied.
  if (json_int(config, "rescale_every", 0, where) < 0)
    throw Error(StatusCode::kBadInput, "field 'rescale_every' is negative", where, "0 is off");
  LayerConfig layer;
  layer.norm1 = layer.norm2 = {NormConfig::Kind::kLayer, json_float(config, "layer_norm_epsilon", 1e-5, where), true, true};
  out.final_norm = layer.norm1;
  out.embed_norm = layer.norm1;
  layer.mixer = "rwkv4";
  layer.mixer_params.set("width", read_size(config, "attention_hidden_size", out.d_model, where));
  layer.channel.d_mlp = read_size(config, "intermediate_size", 4 * out.d_model, where);
  layer.channel.activation = "relu2";
  layer.channel.gated = false;
  layer.channel.shift = ChannelMixerConfig::Shift::kToCurrent;
  layer.channel.receptance = true;
  out.layers.assign(static_cast<size_t>(n_layers), layer);
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  std::vector<TensorBinding> out;
  auto plain = [&](const std::string& canonical, const std::string& source, std::vector<int64_t> shape) {
    TensorBinding b;
    b.canonical = canonical;
    b.source = source;
    b.source_shape = std::move(shape);
    out.push_back(std::move(b));
  };
  plain("embed.weight", "rwkv.embeddings.weight", {c.vocab_size, c.d_model});
  bind_norm(out, *c.embed_norm, c.d_model, "embed.ln", "rwkv.blocks.0.pre_ln");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    std::string n = std::to_string(i), to = "blocks." + n + ".", from = "rwkv.blocks." + n + ".", ffn = from + "feed_forward.";
    const LayerConfig& l = c.layers[i];
    bind_norm(out, l.norm1, c.d_model, to + "ln1", from + "ln1");
    for (TensorBinding& b : bind_mixer_weights(l, c.d_model, to + "attn.", from + "attention.")) out.push_back(std::move(b));
    bind_norm(out, l.norm2, c.d_model, to + "ln2", from + "ln2");
    plain(to + "mlp.shift.up", ffn + "time_mix_key", {1, 1, c.d_model});
    plain(to + "mlp.shift.receptance", ffn + "time_mix_receptance", {1, 1, c.d_model});
    plain(to + "mlp.up.weight", ffn + "key.weight", {l.channel.d_mlp, c.d_model});
    plain(to + "mlp.down.weight", ffn + "value.weight", {c.d_model, l.channel.d_mlp});
    plain(to + "mlp.receptance.weight", ffn + "receptance.weight", {c.d_model, c.d_model});
  }
  bind_norm(out, c.final_norm, c.d_model, "ln_final", "rwkv.ln_out");
  if (!c.tied_unembedding) plain("unembed.weight", "head.weight", {c.vocab_size, c.d_model});
  return out;
}

}  // namespace

void register_rwkv(Registry& registry) {
  registry.add({"rwkv", {"rwkv"}, read, bind, [](const std::string& name) { return name == "head.weight"; }});
}

}  // namespace microtome::families
