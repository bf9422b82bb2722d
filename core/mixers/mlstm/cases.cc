#include "core/mixers/mlstm/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> mlstm_cases() {
  auto make = [](const char* name, int64_t pos, int64_t heads, int64_t head_k, int64_t head_v) {
    MixerCase c;
    c.name = name;
    c.pos = pos;
    c.params.set("num_heads", heads);
    c.params.set("head_k", head_k);
    c.params.set("head_v", head_v);
    // The norm takes out whatever scales a head's read-out, all but eps: a large one lets the normaliser be seen.
    c.params.set("norm_eps", 0.1);
    return c;
  };
  MixerCase biased = make("biases", 70, 2, 8, 16), tight = make("tight_caps", 131, 2, 12, 8);
  biased.params.set("bias", true);
  tight.params.set("gate_soft_cap", 0.5);
  MixerCase open = make("no_cap", 19, 4, 8, 8);
  open.params.set("gate_soft_cap", 0.0);
  return {make("plain", 19, 2, 8, 16), biased, tight, open, make("one_token", 1, 2, 8, 8)};
}

}  // namespace microtome::mixers
