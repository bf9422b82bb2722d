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
  bool erases = false;      // by another key than the one that is written with
};

// How a mechanism goes from S_{t-1} to S_t, by state head and in float64. Undefined: the mechanism has none, or its heads
// do not divide the state's.
struct Rule {
  at::Tensor decay;         // log decay [batch, pos, head, d_k or 1]
  at::Tensor k, v, answers; // where there is a write strength; answers: S'^T k, what the decayed state holds at k
  at::Tensor beta;          // [batch, pos, head]
  // Of kinds with a write strength: |write - β k (v - S'^T k)^T| / |write|. delta: it is small enough to be that rule.
  // strength: a write may take away what is stored.
  double mismatch = 0;
  bool strength = false, delta = false;
};
Rule rule_of(const Span& span);

// "norm", "effective_rank", "write_norm", "erase", "half_life", "read_norm", "transition" [batch, pos, head] and
// "singular_values" [batch, pos, head, top]; float64 on the CPU, NaN where the mechanism has no such thing (README.md).
// delta_mismatch: set to the largest |write - β k (v - S'^T k)^T| / |write| of kinds with a write strength.
std::map<std::string, at::Tensor> measure(const Span& span, int64_t top, double& delta_mismatch);

}  // namespace microtome::analyses::states
