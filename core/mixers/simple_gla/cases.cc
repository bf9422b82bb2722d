#include "core/mixers/simple_gla/cases.h"

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

std::vector<MixerCase> simple_gla_cases() {
  return {
      make("short_conv", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("no_conv", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"use_short_conv", false}}),
      make("grouped_strong_decay", 70, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"head_k", 8_n},
           {"head_v", 8_n}, {"gate_logit_normalizer", 0.25}, {"gate_activation", std::string("sigmoid")}}),
      make("one_token", 1, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}}),
  };
}

}  // namespace microtome::mixers
