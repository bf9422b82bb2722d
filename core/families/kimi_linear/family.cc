// Kimi Linear (transformers' `kimi_linear`): Kimi delta attention in three layers of four, latent attention without
// positions in the others, routed experts with a shared one behind the first dense layers.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// The published config lists layers from 1 in a nested object; the library's own writes names a layer.
std::vector<std::string> read_types(const Json& config, const Json& linear, int64_t n, const std::string& where) {
  if (!linear.contains("full_attn_layers") || config.contains("layer_types"))
    return read_layer_types(config, n, {"linear_attention", "full_attention"},
                            [](int64_t i) { return i && i % 4 == 0 ? "full_attention" : "linear_attention"; }, where);
  Json from_zero = Json::object();
  from_zero["full_attn_layers"] = Json::array();
  if (!linear["full_attn_layers"].is_array())
    throw Error(StatusCode::kBadInput, "field 'full_attn_layers' is no list", where, "list the layers, counted from 1");
  for (const Json& l : linear["full_attn_layers"])
    from_zero["full_attn_layers"].push_back(l.is_number_integer() ? Json(l.get<int64_t>() - 1) : l);
  std::vector<std::string> out;
  for (bool full : read_layer_list(from_zero, "full_attn_layers", n, where))
    out.push_back(full ? "full_attention" : "linear_attention");
  return out;
}

std::vector<bool> read_sparse(const Json& config, int64_t n, const std::string& where) {
  std::vector<bool> out;
  const int64_t dense = json_int(config, "first_k_dense_replace", 1, where);
  for (int64_t i = 0; i < n; ++i) out.push_back(i >= dense);
  if (!config.contains("mlp_layer_types") || config["mlp_layer_types"].is_null()) return out;
  const Json& list = config["mlp_layer_types"];
  if (!list.is_array() || static_cast<int64_t>(list.size()) != n)
    throw Error(StatusCode::kBadInput, "field 'mlp_layer_types' is no list of " + std::to_string(n) + " entries", where,
                "give dense or sparse for each layer");
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] != "dense" && list[i] != "sparse")
      throw Error(StatusCode::kBadInput, "field 'mlp_layer_types' has " + list[i].dump().substr(0, 60), where,
                  "allowed are dense and sparse");
    out[i] = list[i] == "sparse";
  }
  return out;
}

ModelConfig read(const Json& config, const std::string& where) {
  Json spelled = config;
  if (!config.contains("max_position_embeddings") && config.contains("model_max_length"))
    spelled["max_position_embeddings"] = config["model_max_length"];
  Decoder d = read_decoder(spelled, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  const Json nested = config.contains("linear_attn_config") && config["linear_attn_config"].is_object()
                          ? config["linear_attn_config"] : Json::object();
  auto size = [&](const char* key, const char* inner, int64_t fallback) {
    return read_size(nested, inner, read_size(config, key, fallback, where), where);
  };
  LayerConfig linear = d.layer;
  linear.mixer = "kda";
  linear.mixer_params = {};
  const int64_t head = size("linear_head_dim", "head_dim", 128);
  linear.mixer_params.set("num_heads", size("linear_num_heads", "num_heads", 32));
  linear.mixer_params.set("head_k", head);
  linear.mixer_params.set("head_v", head);
  linear.mixer_params.set("conv_size", size("linear_conv_kernel_dim", "short_conv_kernel_size", 4));
  linear.mixer_params.set("gate_bias", false);
  linear.mixer_params.set("norm_eps", eps);

  Params p;
  p.set("num_heads", d.heads);
  p.set("kv_rank", read_size(config, "kv_lora_rank", 512, where));
  p.set("q_rank", read_size(config, "q_lora_rank", 0, where));
  p.set("head_k", read_size(config, "qk_nope_head_dim", 128, where));
  p.set("shared_k", read_size(config, "qk_rope_head_dim", 64, where));
  p.set("head_v", read_size(config, "v_head_dim", 128, where));
  p.set("bias", json_bool(config, "attention_bias", false, where));
  d.layer.mixer = "mla";
  d.layer.mixer_params = p;

  ChannelMixerConfig experts = d.layer.channel;
  ExpertsConfig& e = experts.experts;
  e.count = read_either(config, {"num_experts", "num_local_experts"}, where);
  e.per_token = read_either(config, {"num_experts_per_token", "num_experts_per_tok"}, where);
  e.d_expert = experts.d_mlp = read_size(config, "moe_intermediate_size", where);
  e.scores = ExpertsConfig::Scores::kSigmoid;
  e.renormalize = json_bool(config, "moe_renormalize", json_bool(config, "norm_topk_prob", true, where), where);
  e.scale = json_float(config, "routed_scaling_factor", 2.446, where);
  e.correction = true;
  e.groups = read_size(config, "num_expert_group", read_size(config, "n_group", 1, where), where);
  e.groups_kept = read_size(config, "topk_group", 1, where);
  e.d_shared = e.d_expert * read_size(config, "num_shared_experts", read_size(config, "n_shared_experts", 1, where), where);

  std::vector<std::string> types = read_types(config, nested, d.n_layers, where);
  std::vector<bool> sparse = read_sparse(config, d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] == "linear_attention") l = linear;
    if (sparse[static_cast<size_t>(i)]) l.channel = experts;
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  out.add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".", mixer = from + "self_attn.";
    out.norm(l.norm1, to + "ln1", from + "input_layernorm");
    if (l.mixer == "kda") {
      out.mixer(i, mixer, {{"f_proj.0", "f_a_proj"}, {"f_proj.1", "f_b_proj"}, {"g_proj.0", "g_a_proj"}, {"g_proj.1", "g_b_proj"}},
                {"A_log", "q_conv1d", "k_conv1d", "v_conv1d"});
      const int64_t heads = l.mixer_params.get_int("num_heads");
      out.add(to + "attn.A_log", mixer + "A_log", {1, 1, heads, 1}).shape = {heads};
      out.split_conv(i, mixer, has);
    } else {
      out.mixer(i, mixer);
    }
    out.norm(l.norm2, to + "ln2", from + "post_attention_layernorm");
    DecoderNames names = mixtral_names();
    // Checkpoints of the authors and of the library name the channel mixer differently where it is dense.
    names.mlp = has(from + "mlp.up_proj.weight") && !has(from + "block_sparse_moe.up_proj.weight") ? "mlp." : "block_sparse_moe.";
    names.shared = "block_sparse_moe.shared_experts.";
    bind_channel(out, c, i, from, names);
    if (l.channel.experts.count)
      out.add(to + "mlp.router.correction", from + "block_sparse_moe.gate.e_score_correction_bias", {l.channel.experts.count});
  }
  out.norm(c.final_norm, "ln_final", "model.norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_kimi_linear(Registry& registry) {
  registry.add({"kimi_linear", {"kimi_linear"}, read, bind, decoder_ignorable});
}

}  // namespace microtome::families
