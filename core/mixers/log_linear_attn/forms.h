// forms.h — log-linear attention over a span of tokens, see README.md. Positions are absolute: they say how the past is cut
// into levels.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

struct LogLinearInput {
  RecurrenceInput r;         // q, k, v, g [batch, pos, head, …]: as many heads each, one type
  at::Tensor scales;         // of the levels [batch, pos, head, level]
  int64_t first = 0;         // absolute position of the span's first token

  int64_t positions() const { return r.positions(); }
  LogLinearInput slice(int64_t from, int64_t to) const;
};

// States by level [batch, head, d_k, d_v]; undefined: empty. After token t level 0 holds t alone and level l > 0 the
// 2^(l-1) tokens that t's bit l - 1 stands for, where that bit is set.
using LevelStates = std::vector<at::Tensor>;

// The level at which token t sees token s <= t: 0 for itself, else 1 + floor(log2(t xor s)).
int64_t level_of(int64_t t, int64_t s);
// Before token t is written: levels that t's bits count as one become one.
void merge_levels(LevelStates& states, int64_t t);
// Adds to a level, which may be empty.
void add_to_level(LevelStates& states, int64_t level, const at::Tensor& what);

// Runs a span: states are read and replaced; returns z [batch, pos, head, d_v]. Differentiable.
at::Tensor log_linear_naive(const LogLinearInput& in, LevelStates& states);
at::Tensor log_linear_chunk(const LogLinearInput& in, LevelStates& states);

// Token t's decay of all levels, after merging.
void decay_levels(const LogLinearInput& in, int64_t t, LevelStates& states);
// What token t's query reads from: the levels' states, each times its scale; [batch, head, d_k, d_v].
at::Tensor mixed_levels(const LogLinearInput& in, int64_t t, const LevelStates& states);

// A [batch, head, q_pos, k_pos] with z = A v from empty states.
at::Tensor log_linear_pattern(const LogLinearInput& in);

}  // namespace microtome::mixers
