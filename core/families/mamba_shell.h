// mamba_shell.h — what families of Mamba blocks share: a norm and a mixer a block, mostly no channel mixer, tensors below
// `backbone.`. flash-linear-attention's format has `norm_eps` in config.json, transformers' has `layer_norm_epsilon`.
#pragma once

#include "core/families/config_read.h"

namespace microtome::families {

// Whether the configuration is in flash-linear-attention's format.
bool is_fla_mamba(const Json& config);
// The norms' epsilon, under either name.
double mamba_norm_eps(const Json& config, const std::string& where);
// Everything but the layers' mixer, which `layer` gives. tied: the default of tie_word_embeddings.
ModelConfig read_mamba_model(const Json& config, const std::string& where, const LayerConfig& layer, bool tied);
// The same for flash-linear-attention's models with a channel mixer behind each mixer and softmax layers named by `attn`.
// intermediate_size is the mixer's width there; the channel mixer's follows from hidden_ratio.
ModelConfig read_mamba_mlp_model(const Json& config, const std::string& where, const LayerConfig& layer);
std::vector<TensorBinding> bind_mamba_model(const ModelConfig& config, const Stored& has);

// Parameters of the mixer `mamba1` from hidden_size, expand or intermediate_size, state_size, time_step_rank or dt_rank,
// conv_kernel, use_bias, use_conv_bias. Throws Error naming the field.
LayerConfig read_mamba1_layer(const Json& config, const std::string& where);
// Those of the mixer `mamba2` from expand, num_heads, head_dim, state_size, n_groups, conv_kernel, use_conv_bias, use_bias,
// the step limits and the gated norm, in either format. Throws Error naming the field.
LayerConfig read_mamba2_layer(const Json& config, const std::string& where);
// The two ends of a list of step sizes, [0, Infinity] as a rule, into dt_min and dt_max where they bound anything.
void read_step_limits(const Json& config, const char* key, const std::string& where, Params& out);
// hidden_act, which the convolution and the gate share; throws Error(kUnsupported) unless it is silu.
void require_silu(const Json& config, const std::string& where);

}  // namespace microtome::families
