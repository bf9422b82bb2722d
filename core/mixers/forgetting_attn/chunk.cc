#include <ATen/ATen.h>

#include <limits>

#include "core/mixers/forgetting_attn/forms.h"

namespace microtome::mixers {

at::Tensor forgetting_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& g,
                            const AttentionOptions& options, const QueryRows& rows) {
  // The CPU computes half floats slowly and with too little range.
  if (q.scalar_type() == at::kHalf && q.is_cpu())
    return forgetting_fused(q.to(at::kFloat), k, v, g, options, rows).to(at::kHalf);
  at::Tensor mask = forgetting(g, rows, q.scalar_type());
  at::Tensor seen = visible(rows, options, q.device());
  if (seen.defined()) mask = mask.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  auto by_head = [&](const at::Tensor& x) { return repeat_heads(x.to(q.scalar_type()), q.size(2)).transpose(1, 2); };
  return at::scaled_dot_product_attention(q.transpose(1, 2), by_head(k), by_head(v), mask, 0.0, false, options.scale)
      .transpose(1, 2);
}

}  // namespace microtome::mixers
