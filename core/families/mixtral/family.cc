// Mixtral (transformers' `mixtral`): Mistral with routed experts in place of the MLP.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-5, where), true, false});
  d.attention().set("window", read_window(config, "sliding_window", where));
  read_rope(config, d.head_dim, where, d.attention(), {1000000, 1});
  ExpertsConfig& e = d.layer.channel.experts;
  e.count = read_either(config, {"num_local_experts", "num_experts"}, where);
  e.per_token = read_size(config, "num_experts_per_tok", 2, where);
  e.d_expert = d.layer.channel.d_mlp;
  e.renormalize = true;
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  return bind_decoder(c, has, mixtral_names());
}

}  // namespace

void register_mixtral(Registry& registry) { registry.add({"mixtral", {"mixtral"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
