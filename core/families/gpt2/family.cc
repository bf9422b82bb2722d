// GPT-2 (transformers' `gpt2`): learned positions, LayerNorm, fused c_attn, Conv1D matrices stored [in, out].
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "n_embd", where);
  const int64_t n_layers = read_layer_count(config, "n_layer", where);
  int64_t heads = read_size(config, "n_head", where);
  int64_t head_dim = divide(out.d_model, heads, "n_embd", "n_head", where);
  out.learned_positions = read_size(config, "n_positions", read_size(config, "n_ctx", 1024, where), where);
  out.context_length = out.learned_positions;
  out.hard_context = true;
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  double eps = json_float(config, "layer_norm_epsilon", 1e-5, where);
  NormConfig norm{NormConfig::Kind::kLayer, eps, true, true};
  out.final_norm = norm;
  bool by_layer = json_bool(config, "scale_attn_by_inverse_layer_idx", false, where);
  bool scaled = json_bool(config, "scale_attn_weights", true, where);
  int64_t d_mlp = read_size(config, "n_inner", 4 * out.d_model, where);
  ChannelMixerConfig mlp{d_mlp, read_activation(config, "activation_function", "gelu_new", where), false, true};
  for (int64_t i = 0; i < n_layers; ++i) {
    LayerConfig l;
    l.mixer = "softmax_attention";
    Params& p = l.mixer_params;
    p.set("num_heads", heads);
    p.set("num_kv_heads", heads);
    p.set("head_dim", head_dim);
    for (const char* b : {"q_bias", "k_bias", "v_bias", "o_bias"}) p.set(b, true);
    double scale = scaled ? 1.0 / std::sqrt(static_cast<double>(head_dim)) : 1.0;
    if (by_layer) scale /= static_cast<double>(i + 1);
    p.set("scale", scale);
    l.norm1 = l.norm2 = norm;
    l.channel = mlp;
    out.layers.push_back(std::move(l));
  }
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("transformer.wte.weight") || !has("wte.weight") ? "transformer." : "";
  constexpr bool kInOut = true;                        // Conv1D keeps its matrices [in, out]
  out.add("embed.weight", root + "wte.weight", {c.vocab_size, c.d_model});
  out.add("pos_embed.weight", root + "wpe.weight", {c.learned_positions, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "h." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "ln_1");
    out.fused_qkv(i, from + "attn.c_attn", Binder::Fused::kOneAfterOther, kInOut);
    out.linear(to + "attn.o_proj", from + "attn.c_proj", c.d_model, c.d_model, true, kInOut);
    out.norm(c.layers[i].norm2, to + "ln2", from + "ln_2");
    out.mlp(i, from + "mlp.", "", "c_fc", "c_proj", kInOut);
  }
  out.norm(c.final_norm, "ln_final", root + "ln_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_gpt2(Registry& registry) {
  registry.add({"gpt2", {"gpt2"}, read, bind, masked_decoder_ignorable});
}

}  // namespace microtome::families
