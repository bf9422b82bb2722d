#include "core/mixers/linear_attn/cases.h"

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

std::vector<MixerCase> linear_attn_cases() {
  return {
      make("elementwise_product", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n},
           {"feature_map", std::string("elementwise_product")}}),
      make("tied_maps_norm_qk", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"feature_map", std::string("hedgehog")}, {"tie_feature_map_qk", true}, {"norm_q", true},
           {"norm_k", true}}),
      make("elu_normalized", 67, {{"num_heads", 2_n}, {"head_k", 16_n}, {"head_v", 8_n},
           {"feature_map", std::string("elu")}, {"norm_feature_map", true}}),
      make("hedgehog_normalized_grouped", 19, {{"num_heads", 4_n}, {"num_kv_heads", 2_n}, {"head_k", 8_n},
           {"head_v", 8_n}, {"feature_map", std::string("hedgehog")}, {"norm_feature_map", true}}),
      make("t2r_grouped", 70, {{"num_heads", 4_n}, {"num_kv_heads", 1_n}, {"head_k", 8_n}, {"head_v", 12_n},
           {"feature_map", std::string("t2r")}, {"elementwise_affine", false}}),
      make("dpfp_normalized", 19, {{"num_heads", 2_n}, {"head_k", 4_n}, {"head_v", 8_n},
           {"feature_map", std::string("dpfp")}, {"norm_feature_map", true}, {"norm_q", true}}),
      make("taylor", 19, {{"num_heads", 2_n}, {"head_k", 4_n}, {"head_v", 8_n},
           {"feature_map", std::string("taylor")}, {"use_output_norm", false}}),
      make("identity_one_token", 1, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n},
           {"feature_map", std::string("identity")}}),
      make("relu", 64, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"feature_map", std::string("relu")}}),
  };
}

}  // namespace microtome::mixers
