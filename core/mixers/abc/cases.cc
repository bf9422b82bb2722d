#include "core/mixers/abc/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> abc_cases() {
  MixerCase plain, bare;
  plain.name = "plain";
  plain.params.set("num_heads", int64_t{2});
  plain.params.set("head_k", int64_t{8});
  plain.params.set("head_v", int64_t{16});
  plain.params.set("num_slots", int64_t{6});
  bare = plain;
  bare.name = "short_conv_no_gate_no_rotary";
  bare.pos = 67;
  bare.params.set("num_slots", int64_t{12});
  bare.params.set("use_short_conv", true);
  bare.params.set("use_output_gate", false);
  bare.params.set("use_rope", false);
  return {plain, bare};
}

}  // namespace microtome::mixers
