// Gemma (transformers' `gemma`): norm gains stored minus one, embeddings times sqrt(hidden), wide GELU MLP, tied head.
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where, true);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false, 1});
  d.model.embed_scale = std::sqrt(static_cast<double>(d.model.d_model));
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  d.attention().set("o_bias", bias);
  // The first files say hidden_act "gelu" and mean the tanh form; hidden_activation, where given, is meant as it reads.
  std::string act = read_activation(config, "hidden_activation", "gelu_new", where);
  d.layer.channel.activation = act;
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  return bind_decoder(c, has);
}

}  // namespace

void register_gemma(Registry& registry) { registry.add({"gemma", {"gemma"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
