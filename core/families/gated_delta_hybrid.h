// gated_delta_hybrid.h — what Qwen3-Next, Qwen3.5 and OLMo Hybrid share: gated delta rule in most layers, softmax
// attention in the others.
#pragma once

#include <string>
#include <vector>

#include "core/families/decoder.h"

namespace microtome::families {

// A layer of the gated delta rule, from linear_num_key_heads, linear_num_value_heads, linear_key_head_dim,
// linear_value_head_dim and linear_conv_kernel_dim. Norms and channel mixer are `like`'s.
LayerConfig read_gated_delta(const Json& config, const LayerConfig& like, double norm_eps, const std::string& where);
// layer_types; absent: every fourth layer (or full_attention_interval-th) is full attention.
std::vector<std::string> read_hybrid_types(const Json& config, int64_t n_layers, const std::string& where);
// q_proj holds a head's queries and then its output gates, head after head.
void bind_gated_queries(Binder& out, const ModelConfig& config, size_t i, const std::string& source);

// Qwen3-Next and Qwen3.5: norms with 1 + weight, gated attention with q and k norms, partly rotary.
ModelConfig read_qwen_hybrid(const Json& config, const std::string& where);

}  // namespace microtome::families
