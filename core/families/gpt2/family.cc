// GPT-2 (transformers' `gpt2`): learned positions, LayerNorm, fused c_attn, Conv1D matrices stored [in, out].
#include "core/families/config_read.h"
#include <cmath>

#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "n_embd", where);
  int64_t n_layers = read_size(config, "n_layer", where);
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
  if (n_layers > 10000)
    throw Error(StatusCode::kBadInput, "field 'n_layer' is " + std::to_string(n_layers), where, "it must be at most 10000");
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
  std::vector<TensorBinding> out;
  std::string root = has("transformer.wte.weight") || !has("wte.weight") ? "transformer." : "";
  auto add = [&](std::string canonical, std::string source, std::vector<int64_t> shape, bool transpose = false,
                 int64_t begin = 0, int64_t length = -1) {
    out.push_back({std::move(canonical), std::move(source), std::move(shape), transpose, begin, length, false});
  };
  int64_t d = c.d_model;
  add("embed.weight", root + "wte.weight", {c.vocab_size, d});
  add("pos_embed.weight", root + "wpe.weight", {c.learned_positions, d});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    std::string n = std::to_string(i), to = "blocks." + n + ".", from = root + "h." + n + ".";
    const LayerConfig& l = c.layers[i];
    bind_norm(out, l.norm1, d, to + "ln1", from + "ln_1");
    const char* parts[] = {"q", "k", "v"};
    for (int64_t r = 0; r < 3; ++r) {
      add(to + "attn." + parts[r] + "_proj.weight", from + "attn.c_attn.weight", {d, 3 * d}, true, r * d, d);
      add(to + "attn." + parts[r] + "_proj.bias", from + "attn.c_attn.bias", {3 * d}, false, r * d, d);
    }
    add(to + "attn.o_proj.weight", from + "attn.c_proj.weight", {d, d}, true);
    add(to + "attn.o_proj.bias", from + "attn.c_proj.bias", {d});
    bind_norm(out, l.norm2, d, to + "ln2", from + "ln_2");
    add(to + "mlp.up.weight", from + "mlp.c_fc.weight", {d, l.channel.d_mlp}, true);
    add(to + "mlp.up.bias", from + "mlp.c_fc.bias", {l.channel.d_mlp});
    add(to + "mlp.down.weight", from + "mlp.c_proj.weight", {l.channel.d_mlp, d}, true);
    add(to + "mlp.down.bias", from + "mlp.c_proj.bias", {d});
  }
  bind_norm(out, c.final_norm, d, "ln_final", root + "ln_f");
  if (!c.tied_unembedding) add("unembed.weight", "lm_head.weight", {c.vocab_size, d});
  return out;
}

// Causal-mask buffers of old files, and the tied head that some writers repeat.
bool ignorable(const std::string& name) {
  auto ends = [&](const char* s) {
    std::string_view v(s);
    return name.size() >= v.size() && std::string_view(name).substr(name.size() - v.size()) == v;
  };
  return ends(".attn.bias") || ends(".attn.masked_bias") || name == "lm_head.weight";
}

}  // namespace

void register_gpt2(Registry& registry) {
  registry.add({"gpt2", {"gpt2"}, read, bind, ignorable});
}

}  // namespace microtome::families
