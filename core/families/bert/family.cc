// BERT with its masked-language head (transformers' `bert`): attention in both directions, norms after each sum, learned
// positions, every token of type 0. The head is a dense layer, GELU and LayerNorm (ln_final) before the unembedding.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  refuse_option(config, "is_decoder", where);
  refuse_option(config, "add_cross_attention", where);
  const std::string positions = json_string(config, "position_embedding_type", "absolute", where);
  if (positions != "absolute")
    throw Error(StatusCode::kUnsupported, "field 'position_embedding_type' is '" + positions.substr(0, 60) + "'", where,
                "only absolute positions are supported");
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, "hidden_size", where);
  d.n_layers = read_layer_count(config, "num_hidden_layers", where);
  d.heads = read_size(config, "num_attention_heads", where);
  m.learned_positions = m.context_length = read_size(config, "max_position_embeddings", 512, where);
  m.hard_context = true;
  m.token_types = read_size(config, "type_vocab_size", 2, where);
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  m.unembedding_bias = true;
  const NormConfig norm{NormConfig::Kind::kLayer, json_float(config, "layer_norm_eps", 1e-12, where), true, true};
  d.all_norms(norm);
  m.embed_norm = norm;
  d.layer.wiring = Wiring::kPostNorm;
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("head_dim", divide(m.d_model, d.heads, "hidden_size", "num_attention_heads", where));
  p.set("causal", false);
  d.qkv_bias(true);
  p.set("o_bias", true);
  const std::string activation = read_activation(config, "hidden_act", "gelu", where);
  m.head_activation = activation;
  d.layer.channel = {read_size(config, "intermediate_size", where), activation, false, true};
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  Binder out(c);
  const std::string embeddings = "bert.embeddings.";
  out.add("embed.weight", embeddings + "word_embeddings.weight", {c.vocab_size, c.d_model});
  out.add("pos_embed.weight", embeddings + "position_embeddings.weight", {c.learned_positions, c.d_model});
  TensorBinding& type = out.add("type_embed.weight", embeddings + "token_type_embeddings.weight", {c.token_types, c.d_model});
  type.length = 1;
  out.norm(*c.embed_norm, "embed.ln", embeddings + "LayerNorm");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "bert.encoder.layer." + std::to_string(i) + ".";
    out.mixer(i, from, {{"q_proj", "attention.self.query"}, {"k_proj", "attention.self.key"},
                        {"v_proj", "attention.self.value"}, {"o_proj", "attention.output.dense"}});
    out.norm(c.layers[i].norm1, to + "ln1", from + "attention.output.LayerNorm");
    out.mlp(i, from, "", "intermediate.dense", "output.dense");
    out.norm(c.layers[i].norm2, to + "ln2", from + "output.LayerNorm");
  }
  out.linear("head", "cls.predictions.transform.dense", c.d_model, c.d_model, true);
  out.norm(c.final_norm, "ln_final", "cls.predictions.transform.LayerNorm");
  if (!c.tied_unembedding) out.add("unembed.weight", "cls.predictions.decoder.weight", {c.vocab_size, c.d_model});
  out.add("unembed.bias", "cls.predictions.bias", {c.vocab_size});
  return out.take();
}

// The tied decoder that some writers repeat, and the heads that masked-language modelling does not use.
bool ignorable(const std::string& name) {
  return name.rfind("cls.predictions.decoder.", 0) == 0 || name.rfind("bert.pooler.", 0) == 0 ||
         name.rfind("cls.seq_relationship.", 0) == 0 || name.ends_with("embeddings.position_ids");
}

}  // namespace

void register_bert(Registry& registry) { registry.add({"bert", {"bert"}, read, bind, ignorable}); }

}  // namespace microtome::families
