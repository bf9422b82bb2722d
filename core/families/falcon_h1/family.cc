// Falcon-H1 (transformers' `falcon_h1`): softmax attention and Mamba-2 side by side in every layer, and multipliers nearly
// everywhere.
#include <cmath>

#include "core/families/mamba_hybrid.h"
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

double read_multiplier(const Json& config, const char* key, const std::string& where) {
  const double m = json_float(config, key, 1.0, where);
  if (!std::isfinite(m))
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is not a finite number", where, "1.0 is neutral");
  return m;
}

// A list of `count` numbers; absent or null: ones.
std::vector<double> read_multipliers(const Json& config, const char* key, size_t count, const std::string& where) {
  std::vector<double> out(count, 1.0);
  if (!config.contains(key) || config[key].is_null()) return out;
  const Json& list = config[key];
  if (!list.is_array() || list.size() != count)
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is no list of " + std::to_string(count) +
                " numbers", where, "1.0 each is neutral");
  for (size_t i = 0; i < count; ++i) out[i] = read_multiplier(Json{{key, list[i]}}, key, where);
  return out;
}

Params read_mamba(const Json& config, double eps, const std::string& where) {
  // null: the usual width, as in Bamba.
  const int64_t inner = config.contains("mamba_d_ssm") ? read_size(config, "mamba_d_ssm", 0, where) : 1024;
  Params p = read_hybrid_mamba2(config, where, {}, eps, inner);
  p.set("conv_bias", json_bool(config, "mamba_conv_bias", true, where));
  p.set("out_bias", json_bool(config, "projectors_bias", false, where));
  p.set("rms_norm", json_bool(config, "mamba_rms_norm", false, where));
  p.set("norm_before_gate", json_bool(config, "mamba_norm_before_gate", true, where));
  read_step_limits(config, "time_step_limit", where, p);
  p.set("multiplier_in", read_multiplier(config, "ssm_in_multiplier", where));
  p.set("multiplier_out", read_multiplier(config, "ssm_out_multiplier", where));
  const std::vector<double> parts = read_multipliers(config, "ssm_multipliers", 5, where);
  const char* names[] = {"gate", "x", "b", "c", "dt"};
  for (size_t i = 0; i < 5; ++i) p.set(std::string("multiplier_") + names[i], parts[i]);
  return p;
}

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  require_silu(config, where);
  read_rope(config, d.head_dim, where, d.attention());
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  Params& p = d.attention();
  p.set("o_bias", bias);
  p.set("multiplier_in", read_multiplier(config, "attention_in_multiplier", where));
  p.set("multiplier_k", read_multiplier(config, "key_multiplier", where));
  p.set("multiplier_out", read_multiplier(config, "attention_out_multiplier", where));
  const Params mamba = read_mamba(config, eps, where);
  for (const auto& [name, value] : mamba.values()) p.set("ssm." + name, value);
  d.layer.mixer = "attention_and_mamba2";
  d.layer.channel.bias = json_bool(config, "mlp_bias", false, where);
  const std::vector<double> mlp = read_multipliers(config, "mlp_multipliers", 2, where);
  d.layer.channel.gate_scale = mlp[0];
  d.layer.channel.down_scale = mlp[1];
  d.model.embed_scale = read_multiplier(config, "embedding_multiplier", where);
  d.model.logit_scale = read_multiplier(config, "lm_head_multiplier", where);
  return finish(std::move(d));
}

bool ignorable(const std::string& name) { return decoder_ignorable(name) || name.ends_with(".mup_vector"); }

}  // namespace

void register_falcon_h1(Registry& registry) {
  registry.add({"falcon_h1", {"falcon_h1"}, read, bind_mamba_hybrid, ignorable});
}

}  // namespace microtome::families
