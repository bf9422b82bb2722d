// RWKV-4 in transformers' format (`rwkv`).
#include "core/families/binder.h"
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
  const int64_t n_layers = read_layer_count(config, "num_hidden_layers", where);
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
  Binder out(c);
  out.add("embed.weight", "rwkv.embeddings.weight", {c.vocab_size, c.d_model});
  out.norm(*c.embed_norm, "embed.ln", "rwkv.blocks.0.pre_ln");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "rwkv.blocks." + std::to_string(i) + ".", ffn = from + "feed_forward.";
    const LayerConfig& l = c.layers[i];
    out.norm(l.norm1, to + "ln1", from + "ln1");
    out.mixer(i, from + "attention.");
    out.norm(l.norm2, to + "ln2", from + "ln2");
    out.add(to + "mlp.shift.up", ffn + "time_mix_key", {1, 1, c.d_model});
    out.add(to + "mlp.shift.receptance", ffn + "time_mix_receptance", {1, 1, c.d_model});
    out.add(to + "mlp.up.weight", ffn + "key.weight", {l.channel.d_mlp, c.d_model});
    out.add(to + "mlp.down.weight", ffn + "value.weight", {c.d_model, l.channel.d_mlp});
    out.add(to + "mlp.receptance.weight", ffn + "receptance.weight", {c.d_model, c.d_model});
  }
  out.norm(c.final_norm, "ln_final", "rwkv.ln_out");
  out.unembedding("head");
  return out.take();
}

}  // namespace

void register_rwkv(Registry& registry) {
  registry.add({"rwkv", {"rwkv"}, read, bind, [](const std::string& name) { return name == "head.weight"; }});
}

}  // namespace microtome::families
