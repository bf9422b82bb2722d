// Samba in flash-linear-attention's format (`samba`): Mamba and sliding-window attention in turn.
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  return read_mamba_mlp_model(config, where, read_mamba1_layer(config, where));
}

}  // namespace

void register_samba(Registry& registry) {
  registry.add({"samba", {"samba"}, read, bind_mamba_model, tied_head});
}

}  // namespace microtome::families
