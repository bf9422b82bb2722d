// flash-linear-attention's softmax model (`transformer`), the baseline of its linear ones.
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  const double eps = json_float(config, "norm_eps", 1e-6, where);
  return read_fla_model(config, where, read_fla_attention(config, read_size(config, "hidden_size", where), eps, where));
}

}  // namespace

void register_transformer(Registry& registry) {
  registry.add({"transformer", {"transformer"}, read, bind_fla_model, tied_head});
}

}  // namespace microtome::families
