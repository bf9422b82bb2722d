// Gemma (transformers' `gemma`): norm gains stored minus one, embeddings times sqrt(hidden), wide GELU MLP, tied head.
#include "core/families/gemma_block.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_gemma(config, where);
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

}  // namespace

void register_gemma(Registry& registry) { registry.add({"gemma", {"gemma"}, read, bind_llama, decoder_ignorable}); }

}  // namespace microtome::families
