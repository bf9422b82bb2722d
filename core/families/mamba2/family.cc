// Mamba-2 in transformers' and in flash-linear-attention's format (`mamba2`).
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  return read_mamba_model(config, where, read_mamba2_layer(config, where), false);
}

}  // namespace

void register_mamba2(Registry& registry) {
  registry.add({"mamba2", {"mamba2"}, read, bind_mamba_model, tied_head});
}

}  // namespace microtome::families
