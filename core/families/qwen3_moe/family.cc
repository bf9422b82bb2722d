// Qwen3 with routed experts (transformers' `qwen3_moe`): experts in every decoder_sparse_step-th layer but those that
// mlp_only_layers names.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-6, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  Params& p = d.attention();
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  p.set("o_bias", bias);
  p.set("qk_norm", true);
  p.set("norm_eps", eps);
  if (json_bool(config, "use_sliding_window", false, where)) p.set("window", read_size(config, "sliding_window", 4096, where));
  read_rope(config, d.head_dim, where, p);
  ChannelMixerConfig experts = d.layer.channel;
  experts.experts.count = read_either(config, {"num_experts", "num_local_experts"}, where);
  experts.experts.per_token = read_size(config, "num_experts_per_tok", 8, where);
  experts.experts.d_expert = experts.d_mlp = read_size(config, "moe_intermediate_size", where);
  experts.experts.renormalize = json_bool(config, "norm_topk_prob", false, where);
  const int64_t every = read_size(config, "decoder_sparse_step", 1, where);
  std::vector<bool> dense = read_layer_list(config, "mlp_only_layers", d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (!dense[static_cast<size_t>(i)] && (i + 1) % every == 0) l.channel = experts;
  });
}

}  // namespace

void register_qwen3_moe(Registry& registry) {
  registry.add({"qwen3_moe", {"qwen3_moe"}, read, bind_llama, decoder_ignorable});
}

}  // namespace microtome::families
