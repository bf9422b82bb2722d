// Mamba in transformers' and in flash-linear-attention's format (`mamba`).
#include "core/families/mamba_shell.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  // transformers ties the unembedding unless told otherwise.
  return read_mamba_model(config, where, read_mamba1_layer(config, where), !is_fla_mamba(config));
}

}  // namespace

void register_mamba(Registry& registry) {
  registry.add({"mamba", {"mamba"}, read, bind_mamba_model, tied_head});
}

}  // namespace microtome::families
