#include "core/mixers/log_linear_attn/cases.h"

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

std::vector<MixerCase> log_linear_cases() {
  return {
      make("plain", 19, {{"num_heads", 3_n}, {"head_dim", 6_n}, {"state_size", 4_n}, {"levels", 8_n}}),
      make("groups_several_chunks", 140, {{"num_heads", 4_n}, {"head_dim", 4_n}, {"state_size", 4_n}, {"n_groups", 2_n},
           {"levels", 10_n}, {"in_bias", true}, {"out_bias", true}}),
  };
}

}  // namespace microtome::mixers
