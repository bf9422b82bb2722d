// statistics.h — what is asked of a pattern without the pattern: a few numbers of every row, and its weights at chosen keys.
// No tensor of queries × keys is held: on a GPU a kernel (kernels/attention_statistics) makes the scores tile by tile, elsewhere
// tensor operations take a block of queries at a time. And the pattern of some queries, or in another type, for whoever reads it.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>

#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

// The last axis of hook_pattern_statistics, of a row p of the pattern and its scores x:
//   lse       log Σ exp(x), a sink's logit included
//   max       the largest p
//   argmax    its key, counted from the start of the sequence
//   entropy   -Σ p ln p
//   first     p at position 0
//   distance  Σ p (query - key), in tokens
//   mass      Σ p
constexpr std::array<const char*, 7> kPatternNumbers = {"lse", "max", "argmax", "entropy", "first", "distance", "mass"};
// Keys a query that hook_pattern_at reads (the last axis of hook_pattern_targets). As long as nobody sets others, the first two
// are the query's own position and the one before, and the others none.
constexpr int64_t kPatternTargets = 8;

struct PatternStatistics {
  at::Tensor numbers;                  // [batch, head, count, number], float32, or float64 where q is
  at::Tensor at;                       // [batch, head, count, target]; undefined without targets
};

// Where a call stands in its sequence, and what else it shall read.
struct StatisticsAsked {
  int64_t dropped = 0;                 // positions before the first key given (a window kept no more)
  at::Tensor targets;                  // positions, counted from the start of the sequence [batch, count, n]; < 0: none, which gives 0
};

// hook_pattern_targets as it is before anybody sets it: [batch, count, kPatternTargets] in `type`.
at::Tensor default_targets(const QueryRows& rows, int64_t batch, int64_t dropped, at::ScalarType type, at::Device device);

// From q and k; never differentiated. q, k as attention_scores takes them.
PatternStatistics pattern_statistics(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                                     const QueryRows& rows, const StatisticsAsked& asked);
// The same by tensor operations alone, `block` queries at a time (0: as many as keep a block of scores small).
PatternStatistics pattern_statistics_blocked(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                                             const QueryRows& rows, const StatisticsAsked& asked, int64_t block = 0);
// Of a pattern that is there already, perhaps changed by hand; scores are those it was made of.
PatternStatistics statistics_of(const at::Tensor& pattern, const at::Tensor& scores, const AttentionOptions& options,
                                const QueryRows& rows, const StatisticsAsked& asked);

// The pattern [batch, head, count, keys] in `type`, in one pass where a kernel covers it; never differentiated.
at::Tensor pattern_only(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows,
                        at::ScalarType type);

// Whether the kernels take it; `why` says why not.
bool statistics_kernel_covers(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, std::string* why = nullptr);

// Why there are no such kernels for the GPU in this build; empty: there are.
const std::string& attention_kernels_missing();

// Queries from, from + 1 … of a call, as a call of their own with the keys begin ≤ key < end that they may see.
struct QueryBlock {
  QueryRows rows;
  int64_t begin = 0, end = 0;
};
QueryBlock block_of(const QueryRows& rows, const AttentionOptions& options, int64_t from, int64_t count);
// Queries a block has, so that batch × heads × queries × keys stays small.
int64_t block_rows(const at::Tensor& q, int64_t keys, const AttentionOptions& options);

}  // namespace microtome::mixers
