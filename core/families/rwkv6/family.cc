// RWKV-6 in flash-linear-attention's format (`rwkv6`).
#include "core/families/registry.h"
#include "core/families/rwkv_shell.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out = read_rwkv_shell(config, /*receptance=*/true, where);
  int64_t heads = read_size(config, "num_heads", 4, where);
  Params p;
  p.set("num_heads", heads);
  p.set("head_k", expanded_head(config, "expand_k", 0.5, out.d_model, heads, where));
  p.set("head_v", expanded_head(config, "expand_v", 1.0, out.d_model, heads, where));
  p.set("mix_rank", read_size(config, "proj_low_rank_dim", 32, where));
  p.set("decay_rank", read_size(config, "gate_low_rank_dim", 64, where));
  p.set("norm_eps", out.final_norm.eps);
  for (LayerConfig& layer : out.layers) {
    layer.mixer = "rwkv6";
    layer.mixer_params = p;
  }
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& config, const Stored&) {
  return bind_rwkv_shell(config, {"key.linear.weight", "key.mu", "receptance.linear.weight", "receptance.mu"});
}

}  // namespace

void register_rwkv6(Registry& registry) {
  registry.add({"rwkv6", {"rwkv6"}, read, bind, tied_head});
}

}  // namespace microtome::families
