#include "core/mixers/hgrn/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> hgrn_cases() {
  MixerCase plain, bounded;
  plain.name = "plain";
  plain.d_model = 12;
  plain.params.set("width", int64_t{12});
  bounded.name = "bounded_narrow";
  bounded.d_model = 16;
  bounded.pos = 40;
  bounded.params.set("width", int64_t{6});
  bounded.params.set("layer_idx", int64_t{2});
  bounded.params.set("num_layers", int64_t{4});
  bounded.params.set("norm_eps", 1e-5);
  return {plain, bounded};
}

}  // namespace microtome::mixers
