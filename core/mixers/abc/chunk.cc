#include <ATen/ATen.h>

#include "core/mixers/abc/forms.h"

namespace microtome::mixers {

// All positions at once by a running log-sum-exp; the memory itself then runs in chunks (gsa).
AbcGates abc_gates_chunk(const at::Tensor& logits, at::Tensor& lse) {
  at::Tensor z = at::logcumsumexp(logits, 1);
  if (lse.defined()) z = at::logaddexp(z, lse.unsqueeze(1));
  at::Tensor first = lse.defined() ? lse.unsqueeze(1) : z.slice(1, 0, 1);
  at::Tensor earlier = at::cat({first, z.slice(1, 0, z.size(1) - 1)}, 1);
  lse = z.select(1, z.size(1) - 1);
  return {(logits - z).exp(), earlier - z};
}

}  // namespace microtome::mixers
