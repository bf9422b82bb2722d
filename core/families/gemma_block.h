// gemma_block.h — what the Gemma families share: norm gains stored minus one, scaled embeddings, and from Gemma 2 on norms
// around each part, a scale of their own for the scores, and caps.
#pragma once

#include "core/families/decoder.h"

namespace microtome::families {

// Norms, embedding scale, biases and activation; the head is tied unless the config says otherwise.
Decoder read_gemma(const Json& config, const std::string& where);
// The same with norms after the parts too, query_pre_attn_scalar, attn_logit_softcapping and final_logit_softcapping.
Decoder read_gemma2_block(const Json& config, const std::string& where);
// Tensor names with four norms a layer.
std::vector<TensorBinding> bind_gemma2_block(const ModelConfig& config, const Stored& has);

}  // namespace microtome::families
