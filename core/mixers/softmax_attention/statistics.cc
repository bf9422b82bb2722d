// The numbers of a pattern by tensor operations: of scores that are there, or a block of queries at a time.
#include "core/mixers/softmax_attention/statistics.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace microtome::mixers {
namespace {

at::TensorOptions whole_numbers(at::Device device) { return at::TensorOptions().dtype(at::kLong).device(device); }

// Position of each query's own key, [count].
at::Tensor own_positions(const QueryRows& rows, int64_t dropped, at::Device device) { return rows.own_keys(device) + dropped; }

// pattern and scores over keys that begin at position `first` of the sequence; own [count] and targets as positions.
PatternStatistics numbers_of(const at::Tensor& pattern, const at::Tensor& scores, const AttentionOptions& options, const at::Tensor& own,
                             const at::Tensor& targets, int64_t first) {
  const int64_t keys = pattern.size(3);
  at::Tensor lse = at::logsumexp(scores, {-1});
  if (options.sinks.defined()) lse = at::logaddexp(lse, options.sinks.to(scores.scalar_type()).view({1, -1, 1}));
  auto [most, where] = pattern.max(-1);
  at::Tensor entropy = -at::xlogy(pattern, pattern).sum(-1), mass = pattern.sum(-1);
  at::Tensor at_first = first == 0 ? pattern.select(3, 0) : at::zeros_like(mass);
  // Keys as seen from the middle of the queries, so that numbers stay small where most of the weight lies.
  const at::Tensor from = own.select(0, own.size(0) / 2);
  at::Tensor key = (at::arange(first, first + keys, whole_numbers(pattern.device())) - from).to(pattern.scalar_type());
  at::Tensor distance = mass * (own - from).to(pattern.scalar_type()) - at::matmul(pattern, key);
  PatternStatistics out;
  out.numbers = at::stack({lse, most, (where + first).to(pattern.scalar_type()), entropy, at_first, distance, mass}, -1);
  if (targets.defined()) {
    at::Tensor t = targets.to(at::kLong) - first;                                        // [batch, count, n]
    at::Tensor inside = (t >= 0).logical_and(t < keys).logical_and(targets >= 0).unsqueeze(1);
    at::Tensor index = t.clamp(0, keys - 1).unsqueeze(1).expand({pattern.size(0), pattern.size(1), t.size(1), t.size(2)});
    out.at = at::where(inside, pattern.gather(3, index), at::zeros({}, pattern.options()));
  }
  return out;
}

}  // namespace

at::Tensor default_targets(const QueryRows& rows, int64_t batch, int64_t dropped, at::ScalarType type, at::Device device) {
  at::Tensor own = own_positions(rows, dropped, device);
  at::Tensor none = at::full_like(own, -1);
  std::vector<at::Tensor> columns(static_cast<size_t>(kPatternTargets), none);
  columns[0] = own;
  columns[1] = own - 1;
  return at::stack(columns, -1).to(type).unsqueeze(0).expand({batch, -1, -1});
}

QueryBlock block_of(const QueryRows& rows, const AttentionOptions& options, int64_t from, int64_t count) {
  QueryBlock out;
  auto place = [&](int64_t i) { return rows.read ? (*rows.read)[static_cast<size_t>(i)] : i; };   // in this run
  const int64_t first = rows.past + place(from), last = rows.past + place(from + count - 1);
  out.begin = options.window > 0 ? std::max<int64_t>(0, first - options.window + 1) : 0;
  out.end = options.causal ? last + 1 : options.window > 0 ? std::min(rows.keys(), last + options.window) : rows.keys();
  out.rows.past = rows.past - out.begin;                                                          // may be negative
  out.rows.tokens = out.end - rows.past;
  out.rows.read.emplace();
  for (int64_t i = from; i < from + count; ++i) out.rows.read->push_back(place(i));
  return out;
}

int64_t block_rows(const at::Tensor& q, int64_t keys, const AttentionOptions& options) {
  const int64_t most = q.is_cpu() ? int64_t{1} << 20 : int64_t{1} << 26;
  // A window's block sees the window and itself.
  const int64_t seen = options.window > 0 ? std::min(keys, 2 * options.window) : keys;
  return std::clamp<int64_t>(most / std::max<int64_t>(1, q.size(0) * q.size(2) * seen), 16, std::max<int64_t>(16, q.size(1)));
}

PatternStatistics pattern_statistics_blocked(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                                             const QueryRows& rows, const StatisticsAsked& asked, int64_t block) {
  at::NoGradGuard no_grad;
  const int64_t step = block > 0 ? block : block_rows(q, k.size(1), options);
  std::vector<at::Tensor> numbers, at;
  for (int64_t from = 0; from < rows.count(); from += step) {
    const int64_t n = std::min(step, rows.count() - from);
    const QueryBlock b = block_of(rows, options, from, n);
    at::Tensor scores = attention_scores(q.narrow(1, from, n), k.slice(1, b.begin, b.end), options, b.rows);
    const int64_t first = asked.dropped + b.begin;
    PatternStatistics part = numbers_of(attention_pattern(scores, options), scores, options, own_positions(b.rows, first, q.device()),
                                        asked.targets.defined() ? asked.targets.narrow(1, from, n) : at::Tensor(), first);
    numbers.push_back(part.numbers);
    if (part.at.defined()) at.push_back(part.at);
  }
  return {at::cat(numbers, 2), at.empty() ? at::Tensor() : at::cat(at, 2)};
}

PatternStatistics statistics_of(const at::Tensor& pattern, const at::Tensor& scores, const AttentionOptions& options,
                                const QueryRows& rows, const StatisticsAsked& asked) {
  at::NoGradGuard no_grad;
  return numbers_of(pattern, scores, options, own_positions(rows, asked.dropped, pattern.device()), asked.targets, asked.dropped);
}

}  // namespace microtome::mixers
