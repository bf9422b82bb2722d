#include "core/mixers/mesa_net/cases.h"

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

std::vector<MixerCase> mesa_net_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}}),
      make("gate_conv_bias", 67, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"use_output_gate", true},
           {"conv_bias", true}, {"ridge_least", 0.1}}),
  };
}

}  // namespace microtome::mixers
