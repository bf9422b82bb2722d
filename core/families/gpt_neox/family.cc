// GPT-NeoX and Pythia (transformers' `gpt_neox`): attention and MLP side by side, each behind a LayerNorm of its own, partial
// rotary positions, q, k, v of a head together in one matrix.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kLayer, json_float(config, "layer_norm_eps", 1e-5, where), true, true});
  d.attention().set("num_kv_heads", d.heads);          // the library never groups them, whatever the config repeats
  if (json_bool(config, "use_parallel_residual", true, where)) d.layer.wiring = Wiring::kParallel;
  const bool bias = json_bool(config, "attention_bias", true, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  d.layer.channel.gated = false;
  d.layer.channel.bias = true;
  d.layer.channel.activation = read_activation(config, "hidden_act", "gelu", where);
  read_rope(config, d.head_dim, where, d.attention(), {10000, 0.25});
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("embed_in.weight") && !has("gpt_neox.embed_in.weight") ? "" : "gpt_neox.";
  out.add("embed.weight", root + "embed_in.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "layers." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "input_layernorm");
    out.fused_qkv(i, from + "attention.query_key_value", Binder::Fused::kByHead);
    out.mixer(i, from + "attention.", {{"o_proj", "dense"}}, {"q_proj", "k_proj", "v_proj"});
    out.norm(c.layers[i].norm2, to + "ln2", from + "post_attention_layernorm");
    out.mlp(i, from + "mlp.", "", "dense_h_to_4h", "dense_4h_to_h");
  }
  out.norm(c.final_norm, "ln_final", root + "final_layer_norm");
  out.unembedding("embed_out");
  return out.take();
}

// The mask buffers and rotary tables of old files, and the tied head by its name here.
bool ignorable(const std::string& name) { return masked_decoder_ignorable(name) || name == "embed_out.weight"; }

}  // namespace

void register_gpt_neox(Registry& registry) { registry.add({"gpt_neox", {"gpt_neox"}, read, bind, ignorable}); }

}  // namespace microtome::families
