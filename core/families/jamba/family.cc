// Jamba (transformers' `jamba`): Mamba with norms of dt, B and C, softmax attention without positions in one layer of
// attn_layer_period, routed experts in one of expert_layer_period.
#include "core/families/mamba_hybrid.h"
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// Which layers lie `offset` behind a multiple of the period.
struct Every {
  int64_t period, offset;
  bool operator()(int64_t layer) const { return layer % period == offset; }
};

Every read_every(const Json& config, const std::string& kind, int64_t period, int64_t offset, const std::string& where) {
  const std::string period_key = kind + "_layer_period", offset_key = kind + "_layer_offset";
  const Every e{read_size(config, period_key.c_str(), period, where), json_int(config, offset_key.c_str(), offset, where)};
  if (e.offset < 0 || e.offset >= e.period)
    throw Error(StatusCode::kBadInput, "field '" + offset_key + "' is " + std::to_string(e.offset), where,
                "it must lie between 0 and " + period_key + " - 1, here " + std::to_string(e.period - 1));
  return e;
}

LayerConfig mamba_layer(const Json& config, const LayerConfig& like, int64_t d_model, double eps, const std::string& where) {
  require_silu(config, where);
  LayerConfig out = like;
  out.mixer = "mamba1";
  out.mixer_params = {};
  Params& p = out.mixer_params;
  p.set("d_inner", read_size(config, "mamba_expand", 2, where) * d_model);
  p.set("state_size", read_size(config, "mamba_d_state", 16, where));
  const bool automatic = config.contains("mamba_dt_rank") && config["mamba_dt_rank"] == "auto";
  const int64_t usual = (d_model + 15) / 16;
  p.set("dt_rank", automatic ? usual : read_size(config, "mamba_dt_rank", usual, where));
  p.set("conv_size", read_size(config, "mamba_d_conv", 4, where));
  p.set("conv_bias", json_bool(config, "mamba_conv_bias", true, where));
  for (const char* bias : {"in_bias", "out_bias"}) p.set(bias, json_bool(config, "mamba_proj_bias", false, where));
  p.set("has_bcdt_norm", true);
  p.set("bcdt_norm_weight", true);
  p.set("bcdt_norm_eps", eps);
  return out;
}

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.model.hard_context = false;                        // nothing in it depends on the position
  const double eps = json_float(config, "rms_norm_eps", 1e-6, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  refuse_option(config, "sliding_window", where);
  const LayerConfig mamba = mamba_layer(config, d.layer, d.model.d_model, eps, where);
  const Every attention = read_every(config, "attn", 8, 4, where), routed = read_every(config, "expert", 2, 1, where);
  ExpertsConfig e;
  e.count = read_size(config, "num_experts", 16, where);
  e.per_token = read_size(config, "num_experts_per_tok", 2, where);
  e.d_expert = d.layer.channel.d_mlp;
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (!attention(i)) l = mamba;
    if (e.count > 1 && routed(i)) l.channel.experts = e;
  });
}

}  // namespace

void register_jamba(Registry& registry) { registry.add({"jamba", {"jamba"}, read, bind_mamba_hybrid, decoder_ignorable}); }

}  // namespace microtome::families
