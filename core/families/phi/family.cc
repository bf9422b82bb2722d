// Phi-1, 1.5 and 2 (transformers' `phi`): attention and MLP side by side behind one LayerNorm, biases everywhere, partial
// rotary positions. The one norm is read twice: ln1 is what attention reads, ln2 what the MLP reads.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const double eps = json_float(config, "layer_norm_eps", 1e-5, where);
  d.all_norms({NormConfig::Kind::kLayer, eps, true, true});
  d.layer.wiring = Wiring::kParallel;
  d.qkv_bias(true);
  Params& p = d.attention();
  p.set("o_bias", true);
  p.set("qk_norm", json_bool(config, "qk_layernorm", false, where));
  p.set("qk_norm_kind", std::string("head_layer"));
  p.set("norm_eps", eps);
  d.layer.channel.gated = false;
  d.layer.channel.bias = true;
  d.layer.channel.activation = read_activation(config, "hidden_act", "gelu_new", where);
  d.model.unembedding_bias = true;
  read_rope(config, d.head_dim, where, p, {10000, 0.5});
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  names.norm2 = names.norm1;
  names.final_norm = "final_layernorm";
  names.up = "fc1";
  names.down = "fc2";
  names.renames = {{"o_proj", "dense"}, {"q_norm", "q_layernorm"}, {"k_norm", "k_layernorm"}};
  return bind_decoder(c, has, names);
}

}  // namespace

void register_phi(Registry& registry) { registry.add({"phi", {"phi"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
