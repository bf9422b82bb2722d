// gates.h — the gates of the RG-LRU, see README.md.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// All in one type, float32 or float64. A block of w channels has its own pair of gates.
struct RgLruWeights {
  at::Tensor input, input_bias;            // [block, w, w] as [in, out], [block, w]
  at::Tensor recurrent, recurrent_bias;    // the same
  at::Tensor lambda;                       // [channel], channel = block * w
};

struct RgLruGates {
  at::Tensor k, g;                         // write strength sqrt(1 - a^2) i, log decay log a: [batch, pos, channel]
};

// u [batch, pos, channel]; first_pos: absolute position of u[:, 0]. At position 0 nothing is kept, and k is i alone.
RgLruGates rg_lru_gates(const at::Tensor& u, const RgLruWeights& w, int64_t first_pos);

}  // namespace microtome::mixers
