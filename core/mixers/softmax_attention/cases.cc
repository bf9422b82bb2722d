// Conformance cases: one a variant that a family may ask for, with sizes that are no powers of two.
#include "core/mixers/softmax_attention/parts.h"

namespace microtome::mixers {
namespace {

MixerCase make(const std::string& name, int64_t heads, int64_t kv_heads, int64_t head_dim,
               const std::vector<std::pair<std::string, ParamValue>>& more) {
  MixerCase c;
  c.name = name;
  c.params.set("num_heads", heads);
  c.params.set("num_kv_heads", kv_heads);
  c.params.set("head_dim", head_dim);
  for (const auto& [key, value] : more) c.params.set(key, value);
  return c;
}

}  // namespace

std::vector<MixerCase> softmax_attention_cases() {
  const int64_t half = 4;
  return {
      make("mha", 4, 4, 8, {{"q_bias", true}, {"k_bias", true}, {"v_bias", true}, {"o_bias", true}}),
      make("gqa_rope", 4, 2, 8, {{"rotary_dim", int64_t{8}}, {"rope_theta", 500.0}}),
      make("mqa_partial_rope_gptj", 3, 1, 10, {{"rotary_dim", half}, {"rope_interleaved", true}, {"q_bias", true}}),
      make("window5_qk_norm", 4, 2, 8, {{"window", int64_t{5}}, {"rotary_dim", int64_t{8}}, {"qk_norm", true},
                                        {"norm_eps", 1e-6}}),
      make("multipliers", 4, 2, 8, {{"multiplier_k", 0.7}, {"multiplier_out", 1.3}, {"o_bias", true}, {"rotary_dim", half}}),
      make("adapters", 4, 2, 8, {{"adapter_rank", int64_t{3}}, {"rotary_dim", half}}),
      make("window2", 2, 2, 6, {{"window", int64_t{2}}}),
      make("alibi_6_heads", 6, 3, 4, {{"alibi", true}, {"o_bias", true}}),
      make("softcap_scale", 4, 2, 8, {{"softcap", 3.0}, {"scale", 0.25}, {"rotary_dim", int64_t{8}}}),
      make("sinks_window", 4, 2, 8, {{"sinks", true}, {"window", int64_t{4}}, {"rotary_dim", int64_t{8}}}),
      make("whole_qk_norm_gate_clip", 4, 2, 8, {{"qk_norm", true}, {"qk_norm_kind", std::string("whole_rms")},
                                                {"output_gate", true}, {"clip_qkv", 1.5}, {"q_bias", true}}),
      make("head_layer_norm_yarn", 4, 4, 8, {{"qk_norm", true}, {"qk_norm_kind", std::string("head_layer")},
                                             {"rotary_dim", int64_t{8}}, {"rope_scaling", std::string("yarn")},
                                             {"rope_factor", 4.0}, {"rope_original_context", int64_t{16}},
                                             {"rope_attention_factor", 1.14}}),
      make("each_head_layer_norm_dynamic", 4, 2, 8, {{"qk_norm", true}, {"qk_norm_kind", std::string("each_head_layer")},
                                                     {"rotary_dim", int64_t{4}}, {"norm_eps", 1e-5},
                                                     {"rope_scaling", std::string("dynamic")}, {"rope_factor", 4.0},
                                                     {"rope_original_context", int64_t{8}}}),
      make("sigmoid", 4, 2, 8, {{"weighting", std::string("sigmoid")}, {"sigmoid_bias", -2.9}}),
      make("clipped", 4, 4, 8, {{"weighting", std::string("clipped_softmax")}, {"clip_gamma", -0.03}, {"clip_zeta", 1.03}}),
      make("softplus", 4, 2, 8, {{"weighting", std::string("softplus")}, {"rotary_dim", int64_t{8}}}),
      make("bidirectional", 4, 4, 8, {{"causal", false}, {"q_bias", true}}),
  };
}

}  // namespace microtome::mixers
