#include "core/mixers/kda/cases.h"

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

std::vector<MixerCase> kda_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("gva_neg_eigval", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"num_v_heads", 4_n},
           {"allow_neg_eigval", true}}),
      make("no_conv_bounded_decay", 131, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 8_n},
           {"use_short_conv", false}, {"lower_bound", -5.0}}),
  };
}

}  // namespace microtome::mixers
