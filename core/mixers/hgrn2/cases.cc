#include "core/mixers/hgrn2/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> hgrn2_cases() {
  MixerCase plain, bounded;
  plain.name = "plain";
  plain.params.set("num_heads", int64_t{2});
  plain.params.set("head_k", int64_t{8});
  plain.params.set("head_v", int64_t{16});
  bounded = plain;
  bounded.name = "bounded";
  bounded.pos = 67;
  bounded.params.set("num_heads", int64_t{4});
  bounded.params.set("head_v", int64_t{8});
  bounded.params.set("layer_idx", int64_t{1});
  bounded.params.set("num_layers", int64_t{3});
  return {plain, bounded};
}

}  // namespace microtome::mixers
