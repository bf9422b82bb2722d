// The same z without ever holding the whole pattern: by the library's fused kernel where scores are q k^T, a bias and a mask,
// and by the definition a block of queries at a time where they are not.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/softmax_attention/statistics.h"

namespace microtome::mixers {
namespace {

// One call of the library's kernel. mask: bool or a bias, [count, keys] or [head, count, keys]; undefined: none.
at::Tensor library(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, bool square, double scale) {
  std::optional<at::Tensor> given;
  if (mask.defined()) given = mask;
  return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), given, 0.0, square, scale).transpose(1, 2);
}

// What is added to the scores of a block, [head, count, keys], and one key more, which nobody's value is behind, for a sink.
at::Tensor bias_of(const AttentionOptions& options, const QueryRows& rows, int64_t heads, const at::TensorOptions& like) {
  at::Tensor bias = at::zeros({heads, rows.count(), rows.keys()}, like);
  if (options.alibi) {
    at::Tensor slope = at::tensor(alibi_slopes(heads), at::TensorOptions().dtype(at::kDouble)).to(like.device(), like.dtype());
    at::Tensor key = at::arange(rows.keys(), at::TensorOptions().dtype(at::kLong).device(like.device()));
    bias = slope.view({heads, 1, 1}) * (key.unsqueeze(0) - rows.own_keys(like.device()).unsqueeze(1)).to(like.dtype());
  }
  at::Tensor seen = visible(rows, options, like.device());
  if (seen.defined()) bias = bias.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  if (options.sinks.defined()) bias = at::cat({bias, options.sinks.to(like).view({heads, 1, 1}).expand({heads, rows.count(), 1})}, 2);
  return bias;
}

at::Tensor one_key_more(const at::Tensor& x) { return at::constant_pad_nd(x, {0, 0, 0, 0, 0, 1}); }

// The library's kernel a block of queries at a time, each with the keys that it may see.
at::Tensor biased(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options, const QueryRows& rows) {
  const bool plain = options.plain();
  // A mask alone is shared by all heads. A block of more queries than the window is wide would look at keys in vain.
  const int64_t window = options.window > 0 ? options.window : k.size(1);
  const int64_t step = plain ? std::clamp<int64_t>((int64_t{1} << 26) / (2 * window), 64, std::max<int64_t>(window, 256))
                             : block_rows(q, k.size(1), options);
  std::vector<at::Tensor> parts;
  for (int64_t from = 0; from < rows.count(); from += step) {
    const int64_t n = std::min(step, rows.count() - from);
    const QueryBlock b = block_of(rows, options, from, n);
    at::Tensor key = k.slice(1, b.begin, b.end), value = v.slice(1, b.begin, b.end);
    if (options.sinks.defined()) {
      key = one_key_more(key);
      value = one_key_more(value);
    }
    at::Tensor mask = plain ? visible(b.rows, options, q.device()) : bias_of(options, b.rows, q.size(2), q.options());
    parts.push_back(library(q.narrow(1, from, n), key, value, mask, false, options.scale));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

}  // namespace

bool AttentionOptions::fused() const { return softcap == 0 && weighting == Weighting::kSoftmax; }

at::Tensor attention_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionOptions& options, const QueryRows& rows) {
  // The CPU computes half floats slowly and with too little range; a bias of many tokens has too many digits for 16 bits.
  const bool half = q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16;
  if ((q.scalar_type() == at::kHalf && q.is_cpu()) || (half && options.alibi))
    return attention_fused(q.to(at::kFloat), k, v, options, rows).to(q.scalar_type());
  if (options.scale < 0) {               // the library scales what it has masked
    AttentionOptions turned = options;
    turned.scale = -options.scale;
    return attention_fused(-q, k, v, turned, rows);
  }
  const int64_t batch = q.size(0), count = q.size(1), heads = q.size(2), kv_heads = k.size(2);
  at::Tensor key = k.to(q.scalar_type()), value = v.to(q.scalar_type());
  const bool all_in_window = options.window == 0 || rows.keys() <= options.window;
  const bool square = options.causal && all_in_window && rows.past == 0 && !rows.read && options.plain();
  const bool all_seen = options.plain() && !square && sees_all(rows, options);
  if (all_seen && kv_heads != heads && v.size(2) == kv_heads) {
    // Decoding: every query sees every key, so the query heads of one kv head are just more rows and nothing is copied.
    at::Tensor folded = q.transpose(1, 2).reshape({batch, kv_heads, heads / kv_heads * count, q.size(3)});
    at::Tensor z = at::scaled_dot_product_attention(folded, key.transpose(1, 2), value.transpose(1, 2), {}, 0.0, false,
                                                    options.scale);
    return z.reshape({batch, heads, count, v.size(3)}).transpose(1, 2);
  }
  key = repeat_heads(key, heads);
  value = repeat_heads(value, heads);
  if (square || all_seen) return library(q, key, value, {}, square && count > 1, options.scale);
  return biased(q, key, value, options, rows);
}

at::Tensor attention_blocked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionOptions& options, const QueryRows& rows) {
  const int64_t step = block_rows(q, k.size(1), options);
  std::vector<at::Tensor> parts;
  for (int64_t from = 0; from < rows.count(); from += step) {
    const int64_t n = std::min(step, rows.count() - from);
    const QueryBlock b = block_of(rows, options, from, n);
    at::Tensor scores = attention_scores(q.narrow(1, from, n), k.slice(1, b.begin, b.end), options, b.rows);
    parts.push_back(attention_mix(attention_pattern(scores, options), v.slice(1, b.begin, b.end)).to(q.scalar_type()));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

}  // namespace microtome::mixers
