#include "core/mixers/delta_rule/cases.h"

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

std::vector<MixerCase> delta_rule_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("neg_eigval_gate", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"allow_neg_eigval", true}, {"use_output_gate", true}}),
      make("no_conv", 131, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 8_n}, {"use_short_conv", false}}),
      make("relu_sum_norm", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"qk_activation", std::string("relu")}, {"qk_norm", std::string("sum")}}),
      make("elu_no_conv_no_beta", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"qk_activation", std::string("elu")}, {"use_short_conv", false}, {"use_beta", false}}),
      make("identity_conv_bias", 70, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"qk_activation", std::string("identity")}, {"conv_bias", true}, {"conv_size", 2_n}}),
      make("one_token", 1, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}}),
  };
}

}  // namespace microtome::mixers
