// A family: tiny GPT-like models of a format made up for this example. core/families/README.md shows this file.
#include "core/families/binder.h"
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// config.json → what the generic model is made of. Sizes are checked where they are read; errors name the field.
ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig m;
  m.vocab_size = read_size(config, "vocabulary", where);
  m.d_model = read_size(config, "width", where);
  m.learned_positions = m.context_length = read_size(config, "positions", where);
  m.hard_context = true;
  const int64_t heads = read_size(config, "heads", where);

  LayerConfig layer;
  layer.mixer = "softmax_attention";
  layer.mixer_params.set("num_heads", heads);
  layer.mixer_params.set("head_dim", divide(m.d_model, heads, "width", "heads", where));
  layer.channel.d_mlp = 4 * m.d_model;
  layer.channel.activation = read_activation(config, "activation", "gelu", where);
  layer.channel.gated = false;
  layer.norm1 = layer.norm2 = m.final_norm = {NormConfig::Kind::kLayer, 1e-5, true, true};
  m.layers.assign(static_cast<size_t>(read_size(config, "layers", where)), layer);
  return m;
}

// Where each canonical weight lies in the checkpoint, and its shape there.
std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  Binder out(c);
  out.add("embed.weight", "tokens", {c.vocab_size, c.d_model});
  out.add("pos_embed.weight", "positions", {c.learned_positions, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "layer" + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "norm_a");
    out.mixer(i, from, {{"o_proj", "out"}});           // the mixer's own names, but for one
    out.norm(c.layers[i].norm2, to + "ln2", from + "norm_b");
    out.mlp(i, from, "", "up", "down");
  }
  out.norm(c.final_norm, "ln_final", "norm");
  out.unembedding("logits");
  return out.take();
}

}  // namespace

void register_example(Registry& registry) {
  registry.add({"example", {"example"}, read, bind, [](const std::string& name) { return name == "mask"; }});
}

}  // namespace microtome::families
