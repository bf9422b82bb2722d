#include "core/mixers/gated_delta_rule/cases.h"

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

std::vector<MixerCase> gated_delta_rule_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("gva_neg_eigval", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"num_v_heads", 4_n},
           {"allow_neg_eigval", true}}),
      make("no_conv", 131, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 8_n}, {"use_short_conv", false}}),
      make("no_gate_conv_bias", 70, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"use_output_gate", false}, {"conv_bias", true}, {"conv_size", 3_n}}),
      make("mqa_sigmoid_gate", 67, {{"num_heads", 1_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"num_v_heads", 3_n},
           {"gate_activation", std::string("sigmoid")}}),
      make("one_token", 1, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"num_v_heads", 2_n}}),
  };
}

}  // namespace microtome::mixers
