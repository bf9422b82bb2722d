// BLOOM (transformers' `bloom`): ALiBi in place of positions, a norm behind the embeddings, q, k, v of a head together.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// The key that is there, of the new and the old spelling.
const char* spelled(const Json& config, const char* key, const char* older) {
  return config.contains(key) || !config.contains(older) ? key : older;
}

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "apply_residual_connection_post_layernorm", where);
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, spelled(config, "hidden_size", "n_embed"), where);
  d.n_layers = read_layer_count(config, spelled(config, "n_layer", "num_hidden_layers"), where);
  d.heads = read_size(config, spelled(config, "n_head", "num_attention_heads"), where);
  m.context_length = read_size(config, "seq_length", 0, where);        // ALiBi has no bound; this is what it was trained on
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  const NormConfig norm{NormConfig::Kind::kLayer, json_float(config, "layer_norm_epsilon", 1e-5, where), true, true};
  d.all_norms(norm);
  m.embed_norm = norm;
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("num_kv_heads", d.heads);
  p.set("head_dim", divide(m.d_model, d.heads, "hidden_size", "n_head", where));
  d.qkv_bias(true);
  p.set("o_bias", true);
  p.set("alibi", true);
  d.layer.channel = {4 * m.d_model, "gelu_new", false, true};
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("word_embeddings.weight") && !has("transformer.word_embeddings.weight") ? "" : "transformer.";
  out.add("embed.weight", root + "word_embeddings.weight", {c.vocab_size, c.d_model});
  out.norm(*c.embed_norm, "embed.ln", root + "word_embeddings_layernorm");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "h." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "input_layernorm");
    out.fused_qkv(i, from + "self_attention.query_key_value", Binder::Fused::kByHead);
    out.mixer(i, from + "self_attention.", {{"o_proj", "dense"}}, {"q_proj", "k_proj", "v_proj"});
    out.norm(c.layers[i].norm2, to + "ln2", from + "post_attention_layernorm");
    out.mlp(i, from + "mlp.", "", "dense_h_to_4h", "dense_4h_to_h");
  }
  out.norm(c.final_norm, "ln_final", root + "ln_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_bloom(Registry& registry) { registry.add({"bloom", {"bloom"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
