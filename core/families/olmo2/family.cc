// OLMo 2 (transformers' `olmo2`): norms after each part instead of before it, q and k normalised over all their heads.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  NormConfig norm{NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-5, where), true, false};
  d.all_norms({NormConfig::Kind::kNone, 0, false, false});
  d.layer.post1 = d.layer.post2 = d.model.final_norm = norm;
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  Params& p = d.attention();
  p.set("o_bias", bias);
  p.set("qk_norm", true);
  p.set("qk_norm_kind", std::string("whole_rms"));
  p.set("norm_eps", norm.eps);
  read_rope(config, d.head_dim, where, p);
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  names.post1 = "post_attention_layernorm";
  names.post2 = "post_feedforward_layernorm";
  return bind_decoder(c, has, names);
}

}  // namespace

void register_olmo2(Registry& registry) { registry.add({"olmo2", {"olmo2"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
