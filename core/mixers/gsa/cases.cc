#include "core/mixers/gsa/cases.h"

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

std::vector<MixerCase> gsa_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}, {"num_slots", 6_n}}),
      make("grouped_short_conv", 67, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"num_slots", 12_n}, {"use_short_conv", true}, {"gate_logit_normalizer", 1.0}}),
  };
}

}  // namespace microtome::mixers
