#include "core/mixers/mamba2/cases.h"

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

std::vector<MixerCase> mamba2_cases() {
  return {
      make("plain", 19, {{"num_heads", 4_n}, {"head_dim", 8_n}, {"state_size", 6_n}}),
      make("groups", 67, {{"num_heads", 4_n}, {"head_dim", 6_n}, {"state_size", 8_n}, {"n_groups", 2_n},
           {"norm_groups", 2_n}, {"in_bias", true}, {"out_bias", true}}),
      make("tiled_norm_before_gate", 40, {{"num_heads", 4_n}, {"head_dim", 6_n}, {"state_size", 8_n}, {"n_groups", 2_n},
           {"group_order", std::string("tiled")}, {"norm_before_gate", true}, {"conv_bias", false}, {"conv_size", 3_n}}),
      make("multipliers_no_norm", 19, {{"num_heads", 3_n}, {"head_dim", 8_n}, {"state_size", 6_n}, {"rms_norm", false},
           {"in_bias", true}, {"out_bias", true}, {"multiplier_in", 0.7}, {"multiplier_out", 1.3}, {"multiplier_gate", 0.8},
           {"multiplier_x", 1.2}, {"multiplier_b", 0.9}, {"multiplier_c", 1.1}, {"multiplier_dt", 0.6}}),
      make("bounded_steps", 33, {{"num_heads", 2_n}, {"head_dim", 8_n}, {"state_size", 6_n}, {"dt_min", 0.5},
           {"dt_max", 0.9}}),
  };
}

}  // namespace microtome::mixers
