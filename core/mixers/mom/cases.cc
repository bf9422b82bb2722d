#include "core/mixers/mom/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> mom_cases() {
  auto make = [](const char* name, int64_t pos, int64_t memories, int64_t topk, int64_t head_v) {
    MixerCase c;
    c.name = name;
    c.pos = pos;
    c.params.set("num_heads", int64_t{2});
    c.params.set("head_k", int64_t{8});
    c.params.set("head_v", head_v);
    c.params.set("num_memories", memories);
    c.params.set("topk", topk);
    return c;
  };
  MixerCase alone = make("no_shared_memory", 40, 3, 2, 8), open = make("no_gate", 67, 2, 2, 8);
  alone.params.set("shared_mem", false);
  open.params.set("use_output_gate", false);
  open.params.set("conv_size", int64_t{3});
  return {make("plain", 19, 4, 2, 16), alone, open, make("every_memory", 19, 3, 3, 8), make("one_token", 1, 4, 2, 8)};
}

}  // namespace microtome::mixers
