#include "core/mixers/retention/cases.h"

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

std::vector<MixerCase> retention_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("long", 131, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 16_n}}),
      make("short_conv_grouped", 67, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"use_short_conv", true}, {"conv_bias", true}}),
      make("no_gate_no_affine", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"use_output_gate", false}, {"elementwise_affine", false}}),
      make("sigmoid_gate_relu_features", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"gate_activation", std::string("sigmoid")}, {"feature_map", std::string("relu")},
           {"rope_theta", 500.0}}),
      make("one_token", 1, {{"num_heads", 3_n}, {"head_k", 4_n}, {"head_v", 8_n}}),
  };
}

}  // namespace microtome::mixers
