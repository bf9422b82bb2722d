#include "core/mixers/rwkv7/cases.h"

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

std::vector<MixerCase> rwkv7_cases() {
  return {
      make("first_layer", 19, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"first", true},
           {"decay_rank", 4_n}, {"rate_rank", 6_n}, {"value_rank", 4_n}, {"gate_rank", 8_n}}),
      make("later_layer_wide_values", 67, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 24_n}, {"first", false},
           {"decay_rank", 4_n}, {"rate_rank", 4_n}, {"value_rank", 4_n}, {"gate_rank", 4_n}, {"unit", std::string("clamped")}}),
  };
}

}  // namespace microtome::mixers
