#include "core/families/gated_delta_hybrid.h"

namespace microtome::families {

LayerConfig read_gated_delta(const Json& config, const LayerConfig& like, double norm_eps, const std::string& where) {
  LayerConfig out = like;
  out.mixer = "gated_delta_rule";
  out.mixer_params = {};
  Params& p = out.mixer_params;
  const int64_t keys = read_size(config, "linear_num_key_heads", where);
  const int64_t values = read_size(config, "linear_num_value_heads", where);
  divide(values, keys, "linear_num_value_heads", "linear_num_key_heads", where);
  p.set("num_heads", keys);
  p.set("num_v_heads", values);
  p.set("head_k", read_size(config, "linear_key_head_dim", where));
  p.set("head_v", read_size(config, "linear_value_head_dim", where));
  p.set("conv_size", read_size(config, "linear_conv_kernel_dim", 4, where));
  p.set("norm_eps", norm_eps);
  return out;
}

std::vector<std::string> read_hybrid_types(const Json& config, int64_t n_layers, const std::string& where) {
  const int64_t every = read_size(config, "full_attention_interval", 4, where);
  return read_layer_types(config, n_layers, {"linear_attention", "full_attention"},
                          [&](int64_t i) { return (i + 1) % every ? "linear_attention" : "full_attention"; }, where);
}

void bind_gated_queries(Binder& out, const ModelConfig& c, size_t i, const std::string& source) {
  const Params& p = c.layers[i].mixer_params;
  const int64_t heads = p.get_int("num_heads"), d = p.get_int("head_dim");
  const std::string to = Binder::block(i) + "attn.";
  for (int64_t part = 0; part < 2; ++part) {
    const std::string name = part ? "g_proj" : "q_proj";
    auto half = [&](TensorBinding& b) {
      b.groups = heads;
      b.begin = part * d;
      b.length = d;
    };
    half(out.add(to + name + ".weight", source + "q_proj.weight", {2 * heads * d, c.d_model}));
    if (p.get_bool("q_bias", false)) half(out.add(to + name + ".bias", source + "q_proj.bias", {2 * heads * d}));
  }
}

ModelConfig read_qwen_hybrid(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-6, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false, 1});
  Params& p = d.attention();
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  p.set("o_bias", bias);
  p.set("output_gate", true);
  p.set("qk_norm", true);
  p.set("norm_eps", eps);
  p.set("norm_offset", 1.0);
  read_rope(config, d.head_dim, where, p, {10000, 0.25});
  const LayerConfig linear = read_gated_delta(config, d.layer, eps, where);
  std::vector<std::string> types = read_hybrid_types(config, d.n_layers, where);
  ChannelMixerConfig experts = d.layer.channel;
  if (const int64_t count = json_int(config, "num_experts", 0, where); count > 0) {
    ExpertsConfig& e = experts.experts;
    e.count = read_size(config, "num_experts", where);
    e.per_token = read_size(config, "num_experts_per_tok", 10, where);
    e.d_expert = experts.d_mlp = read_size(config, "moe_intermediate_size", where);
    e.renormalize = json_bool(config, "norm_topk_prob", true, where);
    e.d_shared = read_size(config, "shared_expert_intermediate_size", where);
    e.shared_gate = true;
  }
  const int64_t every = read_size(config, "decoder_sparse_step", 1, where);
  const std::vector<bool> dense = experts.experts.count ? read_layer_list(config, "mlp_only_layers", d.n_layers, where)
                                                        : std::vector<bool>(static_cast<size_t>(d.n_layers), true);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] == "linear_attention") l = linear;
    if (!dense[static_cast<size_t>(i)] && (i + 1) % every == 0) l.channel = experts;
  });
}

}  // namespace microtome::families
