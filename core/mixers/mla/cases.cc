#include "core/mixers/mla/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> mla_cases() {
  auto make = [](const char* name, int64_t pos, int64_t q_rank, bool bias) {
    MixerCase c;
    c.name = name;
    c.pos = pos;
    c.params.set("num_heads", int64_t{3});
    c.params.set("kv_rank", int64_t{10});
    c.params.set("q_rank", q_rank);
    c.params.set("head_k", int64_t{7});
    c.params.set("shared_k", int64_t{4});
    c.params.set("head_v", int64_t{6});
    c.params.set("bias", bias);
    return c;
  };
  return {make("plain", 19, 0, false), make("narrow_queries_bias", 33, 9, true), make("one_token", 1, 0, false)};
}

}  // namespace microtome::mixers
