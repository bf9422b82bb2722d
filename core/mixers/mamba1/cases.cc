#include "core/mixers/mamba1/cases.h"

namespace microtome::mixers {

namespace {

MixerCase make(const std::string& name, int64_t d_model, int64_t pos,
               std::vector<std::pair<std::string, ParamValue>> params) {
  MixerCase c;
  c.name = name;
  c.d_model = d_model;
  c.pos = pos;
  for (auto& [key, value] : params) c.params.set(key, std::move(value));
  return c;
}

constexpr int64_t operator""_n(unsigned long long n) { return static_cast<int64_t>(n); }

}  // namespace

std::vector<MixerCase> mamba1_cases() {
  return {
      make("plain", 12, 19, {{"d_inner", 10_n}, {"state_size", 4_n}, {"dt_rank", 3_n}}),
      make("biases", 16, 40, {{"d_inner", 6_n}, {"state_size", 5_n}, {"dt_rank", 2_n}, {"in_bias", true}, {"out_bias", true},
           {"conv_bias", false}, {"conv_size", 3_n}}),
      make("norms", 12, 19, {{"d_inner", 8_n}, {"state_size", 6_n}, {"dt_rank", 3_n}, {"has_bcdt_norm", true}}),
      make("norms_with_gains", 12, 33, {{"d_inner", 8_n}, {"state_size", 6_n}, {"dt_rank", 3_n}, {"has_bcdt_norm", true},
           {"bcdt_norm_weight", true}, {"bcdt_norm_eps", 1e-5}}),
  };
}

}  // namespace microtome::mixers
