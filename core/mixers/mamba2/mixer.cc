#include "core/mixers/mamba2/cases.h"
#include "core/mixers/mamba2/layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

void register_mamba2(Registry& registry) {
  MixerKind k;
  k.name = "mamba2";
  k.aliases = {"ssd"};
  k.paper = "arXiv 2405.21060";
  k.info = [](const Params& p, int64_t d_model) { return mamba2_info(read_mamba2(p, d_model)); };
  k.weights = [](const Params& p, int64_t d_model) { return mamba2_weights(read_mamba2(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    const Mamba2Config c = read_mamba2(p, d_model);
    return std::make_unique<Mamba2Layer>(c, mamba2_info(c), std::move(w), mamba2_weights(c));
  };
  k.op = mamba2_op;
  k.cases = mamba2_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
