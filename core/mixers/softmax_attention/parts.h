// parts.h — what the other files of this folder give mixer.cc to register.
#pragma once

#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// The op of the reference files: q [batch, pos, head, d_k], k, v over kv heads, sinks [head]; outputs "o", "A" when
// implied weights are asked for, "q_rot" and "k_rot" with rotary. The variant comes from the text scalar "variant" (or
// "case", "kind"), by the words alibi, bidirectional, sigmoid, clipped, softplus and rope in it; numbers from scale,
// window, softcap, gamma, zeta, bias, theta, rotary_dim, first_pos. Throws Error(kBadInput) naming the input.
MixerOpResult softmax_attention_op(const MixerOpRequest& request);

std::vector<MixerCase> softmax_attention_cases();

}  // namespace microtome::mixers
