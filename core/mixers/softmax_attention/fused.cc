// The same z by the library's fused kernel, which never holds the whole pattern.
#include <ATen/ATen.h>

#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

at::Tensor attention_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionOptions& options, const QueryRows& rows) {
  // The CPU computes half floats slowly and with too little range.
  if (q.scalar_type() == at::kHalf && q.is_cpu())
    return attention_fused(q.to(at::kFloat), k, v, options, rows).to(at::kHalf);
  const int64_t batch = q.size(0), count = q.size(1), heads = q.size(2), kv_heads = k.size(2);
  at::Tensor query = q.transpose(1, 2), key = k.to(q.scalar_type()), value = v.to(q.scalar_type());
  const bool all_in_window = options.window == 0 || rows.keys() <= options.window;
  const bool square = options.causal && all_in_window && rows.past == 0 && !rows.read;
  at::Tensor seen = square ? at::Tensor() : visible(rows, options, q.device());
  if (!square && !seen.defined() && kv_heads != heads && v.size(2) == kv_heads) {
    // Decoding: every query sees every key, so the query heads of one kv head are just more rows and nothing is copied.
    at::Tensor folded = query.reshape({batch, kv_heads, heads / kv_heads * count, q.size(3)});
    at::Tensor z = at::scaled_dot_product_attention(folded, key.transpose(1, 2), value.transpose(1, 2), {}, 0.0, false,
                                                    options.scale);
    return z.reshape({batch, heads, count, v.size(3)}).transpose(1, 2);
  }
  key = repeat_heads(key, heads).transpose(1, 2);
  value = repeat_heads(value, heads).transpose(1, 2);
  std::optional<at::Tensor> mask;
  if (seen.defined()) mask = seen;
  return at::scaled_dot_product_attention(query, key, value, mask, 0.0, square && count > 1, options.scale)
      .transpose(1, 2);
}

}  // namespace microtome::mixers
