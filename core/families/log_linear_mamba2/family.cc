// Log-linear Mamba-2 in flash-linear-attention's format (`log_linear_mamba2`).
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// As many as the reference allocates, for 2^14 tokens; config.json does not say.
constexpr int64_t kLevels = 15;

ModelConfig read(const Json& config, const std::string& where) {
  LayerConfig layer = read_mamba2_layer(config, where);
  layer.mixer = "log_linear_attn";
  Params& p = layer.mixer_params;
  p.set("levels", kLevels);
  // Its norm has no groups and comes behind the gate.
  p.set("norm_groups", int64_t{1});
  p.set("norm_before_gate", false);
  for (const char* limit : {"dt_min", "dt_max"})
    if (p.has(limit))
      throw Error(StatusCode::kUnsupported, "field 'dt_limit' bounds the step size", where,
                  "log_linear_mamba2 has no such bounds: [0.0, Infinity] is supported");
  ModelConfig out = read_mamba_mlp_model(config, where, layer);
  out.context_length = int64_t{1} << (kLevels - 1);
  out.hard_context = true;
  return out;
}

}  // namespace

void register_log_linear_mamba2(Registry& registry) {
  registry.add({"log_linear_mamba2", {"log_linear_mamba2"}, read, bind_mamba_model, tied_head});
}

}  // namespace microtome::families
