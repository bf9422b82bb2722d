// measure.h — what is read off recurrent states, position by position. Pure functions of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace microtome::analyses::states {

// One span of tokens of one layer. Heads are state heads, except of z. Undefined: the mechanism has none.
struct Span {
  at::Tensor before;        // S before the first token [batch, head, d_k, d_v]
  at::Tensor state, write;  // [batch, pos, head, d_k, d_v]
  at::Tensor k, v;          // [batch, pos, head or fewer, d]: as the recurrence sees them (after rotary)
  at::Tensor decay;         // log decay [batch, pos, head or fewer, d_k or 1]
  at::Tensor beta;          // [batch, pos, head or fewer]
  at::Tensor z;             // read-out [batch, pos, query head, d_v]
};

// "norm", "effective_rank", "write_norm", "erase", "half_life", "read_norm", "transition" [batch, pos, head] and
// "singular_values" [batch, pos, head, top]; float64 on the CPU, NaN where the mechanism has no such thing (README.md).
// delta_mismatch: set to the largest |write - β k (v - S'^T k)^T| / |write| of kinds with a write strength.
std::map<std::string, at::Tensor> measure(const Span& span, int64_t top, double& delta_mismatch);

}  // namespace microtome::analyses::states
