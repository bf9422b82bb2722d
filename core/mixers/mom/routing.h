// routing.h — which memory a token is written to, and the order of its tokens in each, see README.md.
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

struct Routing {
  at::Tensor weight;         // [batch, pos, memory], 0 where the token is not routed to it; at least float32
  at::Tensor mask;           // [batch, pos, memory], 1 or 0
};

// The `topk` memories of largest softmax(logits), their scores divided by their sum. logits [batch, pos, routed memory];
// shared: one more memory, the last, that every token is written to with weight 1.
Routing route(const at::Tensor& logits, int64_t topk, bool shared);

// A short convolution in each memory over its own tokens. x [batch, pos, memory, channel], weight [channel, 1, width];
// window [batch, width - 1, memory * channel]: in, the last inputs of each memory (undefined: zeros); out, the same after
// this run. Returns silu of it in place of x, 0 where the token is not routed.
at::Tensor convolve_routed(const at::Tensor& x, const at::Tensor& mask, const at::Tensor& weight, at::Tensor& window);

}  // namespace microtome::mixers
