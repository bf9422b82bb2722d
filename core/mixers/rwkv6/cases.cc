#include "core/mixers/rwkv6/cases.h"

namespace microtome::mixers {

namespace {

MixerCase make(const std::string& name, int64_t pos, std::vector<std::pair<std::string, ParamValue>> params) {
  MixerCase c;
  c.name = name;
  c.pos = pos;
  for (auto& [key, value] : params) c.params.set(key, std::move(value));
  return c;
}

constexpr int64_t operator""_n(unsigned long long n) { return static_cast<int64_t>(n); }

}  // namespace

std::vector<MixerCase> rwkv6_cases() {
  return {
      make("plain", 19, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"mix_rank", 4_n}, {"decay_rank", 6_n}}),
      make("narrow_keys", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}, {"mix_rank", 3_n},
           {"decay_rank", 4_n}}),
  };
}

}  // namespace microtome::mixers
