// OLMoE (transformers' `olmoe`): routed experts in every layer, q and k normalised over all their heads.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kRms, eps, true, false});
  Params& p = d.attention();
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  p.set("o_bias", bias);
  p.set("qk_norm", true);
  p.set("qk_norm_kind", std::string("whole_rms"));
  p.set("norm_eps", eps);
  // OLMoE cuts q and k after their norm; no published checkpoint uses it.
  refuse_option(config, "clip_qkv", where);
  read_rope(config, d.head_dim, where, p);
  ExpertsConfig& e = d.layer.channel.experts;
  e.count = read_either(config, {"num_experts", "num_local_experts"}, where);
  e.per_token = read_size(config, "num_experts_per_tok", 8, where);
  e.d_expert = d.layer.channel.d_mlp;
  e.renormalize = json_bool(config, "norm_topk_prob", false, where);
  return finish(std::move(d));
}

}  // namespace

void register_olmoe(Registry& registry) { registry.add({"olmoe", {"olmoe"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
