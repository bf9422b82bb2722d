// rwkv_shell.h — what flash-linear-attention's RWKV-6 and RWKV-7 models share around their token mixers: layer norms, a
// norm of the embeddings, the channel mixer with token shift and squared ReLU.
#pragma once

#include <string>
#include <vector>

#include "core/families/config_read.h"

namespace microtome::families {

// All but the layers' mixers. receptance: whether the channel mixer has that gate. Throws as read_size.
ModelConfig read_rwkv_shell(const Json& config, bool receptance, const std::string& where);
// up, receptance: tensor names below "model.layers.i.ffn." of the two shift weights and of the two input matrices.
struct RwkvChannelNames {
  std::string up, shift_up, receptance, shift_receptance;
};
std::vector<TensorBinding> bind_rwkv_shell(const ModelConfig& config, const RwkvChannelNames& names);

}  // namespace microtome::families
