#include "core/mixers/forgetting_attn/cases.h"

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

std::vector<MixerCase> forgetting_attn_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}}),
      make("gqa_gate_norm_bias", 67, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"use_output_gate", true},
           {"qk_norm", true}, {"qkv_bias", true}}),
  };
}

}  // namespace microtome::mixers
