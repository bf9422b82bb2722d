// mamba_hybrid.h — what the hybrids of Mamba and softmax attention share (Jamba, Bamba, Falcon-H1, Zamba2): sizes of the
// Mamba layers, and transformers' tensor names.
#pragma once

#include "core/families/decoder.h"

namespace microtome::families {

// Where config.json has the sizes of Mamba-2.
struct Mamba2Names {
  const char *heads = "mamba_n_heads", *head_dim = "mamba_d_head", *state_size = "mamba_d_state", *groups = "mamba_n_groups",
             *conv_size = "mamba_d_conv", *expand = "mamba_expand", *bias = "mamba_proj_bias";
  // What a size is where its field is absent.
  int64_t default_heads = 128, default_state_size = 256;
};
// Parameters of the mixer `mamba2` with a gated norm over n_groups groups. inner: the width, 0: expand * hidden_size.
// Throws Error naming the field.
Params read_hybrid_mamba2(const Json& config, const std::string& where, const Mamba2Names& names, double norm_eps,
                          int64_t inner = 0);

// Layers with `mamba.`, `self_attn.` or both side by side, then `feed_forward.` behind pre_ff_layernorm.
std::vector<TensorBinding> bind_mamba_hybrid(const ModelConfig& config, const Stored& has);

}  // namespace microtome::families
