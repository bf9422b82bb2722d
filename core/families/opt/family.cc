// OPT (transformers' `opt`): learned positions whose table begins with two rows that no token uses, ReLU, norms before each
// part, or after it in the 350M model's way.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

constexpr int64_t kUnusedRows = 2;

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, "hidden_size", where);
  const int64_t embedded = read_size(config, "word_embed_proj_dim", m.d_model, where);
  if (embedded != m.d_model)
    throw Error(StatusCode::kUnsupported, "field 'word_embed_proj_dim' is " + std::to_string(embedded), where,
                "only models whose embeddings have hidden_size " + std::to_string(m.d_model) + " are supported");
  d.n_layers = read_layer_count(config, "num_hidden_layers", where);
  d.heads = read_size(config, "num_attention_heads", where);
  m.learned_positions = m.context_length = read_size(config, "max_position_embeddings", 2048, where);
  m.hard_context = true;
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  const bool affine = json_bool(config, "layer_norm_elementwise_affine", true, where);
  d.all_norms({NormConfig::Kind::kLayer, 1e-5, affine, affine});
  const bool before = json_bool(config, "do_layer_norm_before", true, where);
  if (!before) d.layer.wiring = Wiring::kPostNorm;
  if (!before || json_bool(config, "_remove_final_layer_norm", false, where))
    m.final_norm = {NormConfig::Kind::kNone, 0, false, false};
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("num_kv_heads", d.heads);
  p.set("head_dim", divide(m.d_model, d.heads, "hidden_size", "num_attention_heads", where));
  const bool bias = json_bool(config, "enable_bias", true, where);
  d.qkv_bias(bias);
  p.set("o_bias", bias);
  d.layer.channel = {read_size(config, "ffn_dim", where), read_activation(config, "activation_function", "relu", where),
                     false, bias};
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("decoder.embed_tokens.weight") && !has("model.decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
  out.add("embed.weight", root + "embed_tokens.weight", {c.vocab_size, c.d_model});
  TensorBinding& positions = out.add("pos_embed.weight", root + "embed_positions.weight",
                                     {c.learned_positions + kUnusedRows, c.d_model});
  positions.begin = kUnusedRows;
  positions.length = c.learned_positions;
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "layers." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "self_attn_layer_norm");
    out.mixer(i, from + "self_attn.", {{"o_proj", "out_proj"}});
    out.norm(c.layers[i].norm2, to + "ln2", from + "final_layer_norm");
    out.mlp(i, from, "", "fc1", "fc2");
  }
  out.norm(c.final_norm, "ln_final", root + "final_layer_norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_opt(Registry& registry) { registry.add({"opt", {"opt"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
