// forms.h — how ABC turns slot logits into a slot memory's write strengths and decays, see README.md. The rest is gsa's.
#pragma once

#include <ATen/core/Tensor.h>


namespace microtome::mixers {

struct AbcGates {
  at::Tensor s, g;           // write strength and log decay [batch, pos, head, slot]
};

// logits [batch, pos, head, slot]; lse [batch, head, slot], the logarithm of the sum of exp(logits) so far, is read
// (undefined: nothing seen) and replaced. Differentiable.
AbcGates abc_gates_naive(const at::Tensor& logits, at::Tensor& lse);
AbcGates abc_gates_chunk(const at::Tensor& logits, at::Tensor& lse);

}  // namespace microtome::mixers
