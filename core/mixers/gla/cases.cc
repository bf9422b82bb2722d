#include "core/mixers/gla/cases.h"

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

std::vector<MixerCase> gla_cases() {
  return {
      make("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
      make("short_conv_grouped", 67, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"use_short_conv", true}}),
      make("strong_decay", 131, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"gate_logit_normalizer", 0.1}}),
      make("clamped_low_rank", 67, {{"num_heads", 2_n}, {"head_k", 12_n}, {"head_v", 8_n}, {"clamp_min", -0.02},
           {"gate_low_rank", 3_n}, {"conv_bias", true}, {"use_short_conv", true}, {"conv_size", 3_n}}),
      make("no_gate_swish_features", 70, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"use_output_gate", false}, {"feature_map", std::string("swish")}}),
      make("sigmoid_gate", 64, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"gate_activation", std::string("sigmoid")}, {"elementwise_affine", false}}),
      make("one_token_grouped", 1, {{"num_heads", 4_n}, {"num_kv_heads", 1_n}, {"head_k", 8_n}, {"head_v", 8_n}}),
  };
}

}  // namespace microtome::mixers
