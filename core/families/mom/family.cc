// Mixture of memories in flash-linear-attention's format (`mom`, arXiv 2502.13685).
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

void expect(const Json& config, const char* key, bool wanted, const std::string& where) {
  if (json_bool(config, key, wanted, where) != wanted)
    throw Error(StatusCode::kUnsupported, "field '" + std::string(key) + "' is " + (wanted ? "false" : "true"), where,
                std::string("only models with ") + (wanted ? "true" : "false") + " are supported");
}

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer;
  layer.mixer = "mom";
  Params& p = layer.mixer_params;
  if (const std::string inner = json_string(config, "mom_backend", "gated_deltanet", where); inner != "gated_deltanet")
    throw Error(StatusCode::kUnsupported, "field 'mom_backend' is '" + inner.substr(0, 60) + "'", where,
                "only gated_deltanet is supported");
  expect(config, "single_kv_proj", false, where);
  expect(config, "use_short_conv", true, where);
  if (const double capacity = json_float(config, "capacity", 1.0, where); capacity != 1)
    throw Error(StatusCode::kUnsupported, "field 'capacity' is " + std::to_string(capacity), where,
                "only 1 is supported: no token is dropped");
  read_delta_heads(config, 256, 2, where, p);
  if (p.get_int("num_v_heads") != p.get_int("num_heads"))
    throw Error(StatusCode::kUnsupported, "field 'num_v_heads' differs from num_heads", where, "leave it out");
  const int64_t memories = read_size(config, "num_memories", 4, where), topk = read_size(config, "topk", 2, where);
  if (topk > memories)
    throw Error(StatusCode::kBadInput, "field 'topk' is " + std::to_string(topk), where,
                "it must be at most num_memories, " + std::to_string(memories));
  p.set("num_memories", memories);
  p.set("topk", topk);
  p.set("shared_mem", json_bool(config, "shared_mem", false, where));
  p.set("use_output_gate", json_bool(config, "use_output_gate", true, where));
  p.set("conv_size", read_size(config, "conv_size", 4, where));
  p.set("norm_eps", json_float(config, "norm_eps", 1e-6, where));
  return read_fla_model(config, where, layer);
}

}  // namespace

void register_mom(Registry& registry) {
  registry.add({"mom", {"mom"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
