#include "core/mixers/lightning_attn/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> lightning_attn_cases() {
  MixerCase plain, linear;
  plain.name = "power_slopes";
  plain.params.set("num_heads", int64_t{4});
  plain.params.set("head_k", int64_t{8});
  plain.params.set("layer_idx", int64_t{1});
  plain.params.set("num_layers", int64_t{3});
  linear = plain;
  linear.name = "linear_slopes";
  linear.pos = 67;
  linear.params.set("num_heads", int64_t{2});
  linear.params.set("slopes", std::string("linear"));
  return {plain, linear};
}

}  // namespace microtome::mixers
