// vector_recurrence.h — what mixers share whose state is one number a channel:
//
//   h_t = exp(g_t) h_{t-1} + k_t v_t;   z_t = h_t
//
// Every channel is a head, 1 × 1. HGRN (arXiv 2311.04823) and the RG-LRU (arXiv 2402.19427) are of this kind.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/hooks/hook_scope.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// All in one type, float32 or float64.
struct VectorInput {
  at::Tensor k, v;           // [batch, pos, channel]: how strongly a value is written, and the value
  at::Tensor g;              // log decay [batch, pos, channel]

  int64_t positions() const { return v.size(1); }
  VectorInput slice(int64_t from, int64_t to) const;
};

// Runs a span: h [batch, channel] is read and replaced. Returns every h_t [batch, pos, channel]. Differentiable.
at::Tensor vector_naive(const VectorInput& in, at::Tensor& h);   // token by token
at::Tensor vector_chunk(const VectorInput& in, at::Tensor& h);   // chunks of 32, a scan of depth 5 in each

// Mixes a whole run. h: in, undefined counts as zero; out, after the last token. Asks hooks for hook_state,
// hook_state_write and hook_pattern (and notes hook_pattern_residual). Returns z [batch, pos, channel]. Throws
// Error(kUnsupported) for a form that does not exist.
at::Tensor run_vector(const VectorInput& in, at::Tensor& h, HookScope& hooks, MixerForm form, const std::string& kind);

// A [batch, channel, q_pos, k_pos] with z_t = sum_s A[t, s] v_s from an empty state: exp(b_t - b_s) k_s, b the sum of g.
// Memory is channel * pos * pos.
at::Tensor vector_pattern(const VectorInput& in);

// The state kept under "S", [batch, channel, 1, 1], as h; undefined where none is. Throws Error(kBadInput) naming both
// shapes where it does not fit like [batch, …, channel].
at::Tensor kept_vector(const MixerState* state, const at::Tensor& like, const std::string& kind);
void keep_vector(MixerState* state, const at::Tensor& h);

// kind, sizes, forms and the points asked for above, with hook_k, hook_v, hook_decay before and hook_z, hook_gate,
// hook_result behind them; the mixer adds inputs and its own.
MixerInfo vector_info(const std::string& kind, int64_t channels, int64_t d_model);

}  // namespace microtome::mixers
