// StableLM (transformers' `stablelm`): LayerNorm, a quarter of each head rotary, sequential or parallel blocks. A parallel
// block has one norm, which is then read twice.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "layer_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kLayer, eps, true, true});
  if (json_bool(config, "use_parallel_residual", false, where)) d.layer.wiring = Wiring::kParallel;
  d.qkv_bias(json_bool(config, "use_qkv_bias", false, where));
  Params& p = d.attention();
  p.set("qk_norm", json_bool(config, "qk_layernorm", false, where));
  p.set("qk_norm_kind", std::string("each_head_layer"));
  p.set("norm_eps", eps);
  read_rope(config, d.head_dim, where, p, {10000, 0.25});
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  if (c.layers[0].wiring == Wiring::kParallel) names.norm2 = names.norm1;
  names.renames = {{"q_norm.", "q_layernorm.norms."}, {"k_norm.", "k_layernorm.norms."}};
  return bind_decoder(c, has, names);
}

}  // namespace

void register_stablelm(Registry& registry) { registry.add({"stablelm", {"stablelm"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
