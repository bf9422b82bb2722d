// SantaCoder and StarCoder (transformers' `gpt_bigcode`): GPT-2 with one key/value head for all query heads.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, "n_embd", where);
  d.n_layers = read_layer_count(config, "n_layer", where);
  d.heads = read_size(config, "n_head", where);
  m.learned_positions = m.context_length = read_size(config, "n_positions", 1024, where);
  m.hard_context = true;
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  d.all_norms({NormConfig::Kind::kLayer, json_float(config, "layer_norm_epsilon", 1e-5, where), true, true});
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("num_kv_heads", json_bool(config, "multi_query", true, where) ? int64_t{1} : d.heads);
  p.set("head_dim", divide(m.d_model, d.heads, "n_embd", "n_head", where));
  if (!json_bool(config, "scale_attn_weights", true, where)) p.set("scale", 1.0);
  d.qkv_bias(true);
  p.set("o_bias", true);
  d.layer.channel = {read_size(config, "n_inner", 4 * m.d_model, where),
                     read_activation(config, "activation_function", "gelu_pytorch_tanh", where), false, true};
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("wte.weight") && !has("transformer.wte.weight") ? "" : "transformer.";
  out.add("embed.weight", root + "wte.weight", {c.vocab_size, c.d_model});
  out.add("pos_embed.weight", root + "wpe.weight", {c.learned_positions, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const Params& p = c.layers[i].mixer_params;
    const bool one_kv = p.get_int("num_kv_heads") != p.get_int("num_heads") || p.get_int("num_heads") == 1;
    const std::string to = Binder::block(i), from = root + "h." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "ln_1");
    out.fused_qkv(i, from + "attn.c_attn", one_kv ? Binder::Fused::kOneAfterOther : Binder::Fused::kByHead);
    out.mixer(i, from + "attn.", {{"o_proj", "c_proj"}}, {"q_proj", "k_proj", "v_proj"});
    out.norm(c.layers[i].norm2, to + "ln2", from + "ln_2");
    out.mlp(i, from + "mlp.", "", "c_fc", "c_proj");
  }
  out.norm(c.final_norm, "ln_final", root + "ln_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_gpt_bigcode(Registry& registry) {
  registry.add({"gpt_bigcode", {"gpt_bigcode"}, read, bind, masked_decoder_ignorable});
}

}  // namespace microtome::families
