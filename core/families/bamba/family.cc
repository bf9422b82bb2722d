// Bamba (transformers' `bamba`): Mamba-2, with softmax attention in the layers that attn_layer_indices names.
#include "core/families/mamba_hybrid.h"
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  require_silu(config, where);
  LayerConfig mamba = d.layer;
  mamba.mixer = "mamba2";
  mamba.mixer_params = read_hybrid_mamba2(config, where, {}, eps);
  mamba.mixer_params.set("conv_bias", json_bool(config, "mamba_conv_bias", true, where));
  read_step_limits(config, "time_step_limit", where, mamba.mixer_params);
  mamba.channel.bias = d.layer.channel.bias = json_bool(config, "mlp_bias", false, where);
  // Half of a head's channels are turned, whatever attn_rotary_emb says.
  read_rope(config, d.head_dim, where, d.attention(), {10000, 0.5});
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  const std::vector<bool> attention = read_layer_list(config, "attn_layer_indices", d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (!attention[static_cast<size_t>(i)]) l = mamba;
  });
}

}  // namespace

void register_bamba(Registry& registry) { registry.add({"bamba", {"bamba"}, read, bind_mamba_hybrid, decoder_ignorable}); }

}  // namespace microtome::families
