// Softmax attention as its definition reads: A = softmax(scale q k^T + bias + mask), z = A v. Judges every other form.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "core/hooks/index_tensor.h"
#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {
namespace {

at::ScalarType compute_type(const at::Tensor& t) {
  return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

bool AttentionOptions::plain() const {
  return softcap == 0 && !alibi && !sinks.defined() && weighting == Weighting::kSoftmax;
}

at::Tensor QueryRows::own_keys(at::Device device) const {
  auto options = at::TensorOptions().dtype(at::kLong);
  // Made where it is wanted: sending it there would wait for what the device is doing.
  if (!read) return at::arange(past, past + tokens, options.device(device));
  return index_tensor(*read, device) + past;
}

bool sees_all(const QueryRows& rows, const AttentionOptions& options) {
  const bool last_only = rows.count() == 1 && (!rows.read || rows.read->back() == rows.tokens - 1);
  const bool all_keys = options.window == 0 || rows.keys() <= options.window;
  return all_keys && (!options.causal || last_only);
}

at::Tensor visible(const QueryRows& rows, const AttentionOptions& options, at::Device device) {
  if (sees_all(rows, options)) return {};
  at::Tensor query = rows.own_keys(device).unsqueeze(1);
  at::Tensor key = at::arange(rows.keys(), at::TensorOptions().dtype(at::kLong).device(device)).unsqueeze(0);
  at::Tensor seen = options.causal ? key.le(query)
                                   : at::ones({rows.count(), rows.keys()}, key.options().dtype(at::kBool));
  if (options.window > 0) seen = seen.logical_and(key.gt(query - options.window));
  if (options.window > 0 && !options.causal) seen = seen.logical_and(key.lt(query + options.window));
  return seen;
}

std::vector<double> alibi_slopes(int64_t heads) {
  auto power_of_two = [](int64_t n) {
    std::vector<double> out;
    const double step = -8.0 / static_cast<double>(n);
    for (int64_t h = 0; h < n; ++h) out.push_back(std::exp2(step * static_cast<double>(h + 1)));
    return out;
  };
  int64_t below = 1;
  while (below * 2 <= heads) below *= 2;
  std::vector<double> slopes = power_of_two(below);
  const std::vector<double> finer = power_of_two(2 * below);
  for (size_t h = 0; static_cast<int64_t>(slopes.size()) < heads; h += 2) slopes.push_back(finer[h]);
  return slopes;
}

at::Tensor repeat_heads(const at::Tensor& x, int64_t heads) {
  const int64_t have = x.size(2);
  if (have == heads) return x;
  return x.unsqueeze(3).expand({x.size(0), x.size(1), have, heads / have, x.size(3)}).flatten(2, 3);
}

at::Tensor attention_scores(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                            const QueryRows& rows) {
  const auto type = compute_type(q);
  const int64_t batch = q.size(0), count = q.size(1), heads = q.size(2), kv_heads = k.size(2), keys = k.size(1);
  // The query heads of one kv head become more rows of one product, so that keys need not be repeated.
  at::Tensor by_kv = q.to(type).permute({0, 2, 1, 3}).reshape({batch, kv_heads, heads / kv_heads * count, q.size(3)});
  at::Tensor x = at::matmul(by_kv, k.to(type).permute({0, 2, 3, 1})).reshape({batch, heads, count, keys});
  x = x * options.scale;
  if (options.softcap > 0) x = options.softcap * at::tanh(x / options.softcap);
  if (options.alibi) {
    at::Tensor slope = at::tensor(alibi_slopes(heads), at::TensorOptions().dtype(at::kDouble)).to(x.device(), type);
    at::Tensor key = at::arange(keys, at::TensorOptions().dtype(at::kLong).device(x.device()));
    at::Tensor distance = (key.unsqueeze(0) - rows.own_keys(x.device()).unsqueeze(1)).to(type);
    x = x + slope.view({heads, 1, 1}) * distance;
  }
  at::Tensor seen = visible(rows, options, x.device());
  if (seen.defined()) x = x.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  return x;
}

at::Tensor attention_pattern(const at::Tensor& scores, const AttentionOptions& options) {
  switch (options.weighting) {
    case Weighting::kSigmoid:
      return at::sigmoid(scores + options.sigmoid_bias);
    case Weighting::kSoftplusL1: {
      at::Tensor weight = at::softplus(scores);
      return weight / weight.sum(-1, true);
    }
    case Weighting::kClippedSoftmax: {
      at::Tensor clipped = at::clamp((options.clip_zeta - options.clip_gamma) * at::softmax(scores, -1) +
                                     options.clip_gamma, 0.0, 1.0);
      return clipped.masked_fill(scores.isneginf(), 0.0);    // a positive gamma must not reach masked keys
    }
    case Weighting::kSoftmax:
      break;
  }
  if (!options.sinks.defined()) return at::softmax(scores, -1);
  at::Tensor sink = options.sinks.to(scores.scalar_type()).view({1, -1, 1, 1})
                        .expand({scores.size(0), scores.size(1), scores.size(2), 1});
  return at::softmax(at::cat({scores, sink}, -1), -1).narrow(-1, 0, scores.size(-1));
}

at::Tensor attention_mix(const at::Tensor& pattern, const at::Tensor& v) {
  const int64_t batch = pattern.size(0), heads = pattern.size(1), count = pattern.size(2), keys = pattern.size(3);
  const int64_t kv_heads = v.size(2);
  at::Tensor rows = pattern.reshape({batch, kv_heads, heads / kv_heads * count, keys});
  at::Tensor z = at::matmul(rows, v.to(pattern.scalar_type()).permute({0, 2, 1, 3}));
  return z.reshape({batch, heads, count, v.size(3)}).permute({0, 2, 1, 3});
}

}  // namespace microtome::mixers
