#include "core/mixers/gated_delta_product/cases.h"

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

std::vector<MixerCase> gated_delta_product_cases() {
  return {
      make("two_steps", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}, {"num_householder", 2_n}}),
      make("three_steps_gva_neg_eigval", 35, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"num_v_heads", 4_n}, {"num_householder", 3_n}, {"allow_neg_eigval", true}}),
      make("no_forget_gate_no_conv", 67, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 8_n},
           {"num_householder", 2_n}, {"use_forget_gate", false}, {"use_short_conv", false}}),
      make("one_step_no_gate", 21, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"num_householder", 1_n},
           {"use_output_gate", false}}),
  };
}

}  // namespace microtome::mixers
