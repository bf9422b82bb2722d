// GPT-J (transformers' `gptj`): attention and MLP side by side behind one LayerNorm, rotary positions over pairs of
// neighbours. The one norm is read twice: ln1 is what attention reads, ln2 what the MLP reads.
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
  d.head_dim = divide(m.d_model, d.heads, "n_embd", "n_head", where);
  m.context_length = read_size(config, "n_positions", 2048, where);
  m.hard_context = true;
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  m.unembedding_bias = true;
  d.all_norms({NormConfig::Kind::kLayer, json_float(config, "layer_norm_epsilon", 1e-5, where), true, true});
  d.layer.wiring = Wiring::kParallel;
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("head_dim", d.head_dim);
  // null: every channel turns
  const int64_t turned = read_size(config, "rotary_dim", config.contains("rotary_dim") ? d.head_dim : 64, where);
  if (turned % 2 || turned > d.head_dim)
    throw Error(StatusCode::kBadInput, "field 'rotary_dim' is " + std::to_string(turned), where,
                "it must be even and at most n_embd / n_head = " + std::to_string(d.head_dim));
  p.set("rotary_dim", turned);
  p.set("rope_interleaved", true);
  d.layer.channel = {read_size(config, "n_inner", 4 * m.d_model, where),
                     read_activation(config, "activation_function", "gelu_new", where), false, true};
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("wte.weight") && !has("transformer.wte.weight") ? "" : "transformer.";
  out.add("embed.weight", root + "wte.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "h." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "ln_1");
    out.mixer(i, from + "attn.", {{"o_proj", "out_proj"}});
    out.norm(c.layers[i].norm2, to + "ln2", from + "ln_1");
    out.mlp(i, from + "mlp.", "", "fc_in", "fc_out");
  }
  out.norm(c.final_norm, "ln_final", root + "ln_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_gptj(Registry& registry) { registry.add({"gptj", {"gptj"}, read, bind, masked_decoder_ignorable}); }

}  // namespace microtome::families
