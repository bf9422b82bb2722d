// forms.h — Titans' linear memory over a span of tokens, see README.md. All tensors [batch, head, pos, d], float32 or
// float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/hooks/hook_scope.h"

namespace microtome::mixers {

struct TitansInput {
  at::Tensor q, k, v;
  at::Tensor theta, keep, eta;   // [batch, head, pos, 1]: step, 1 - alpha (what of the memory stays), momentum
  at::Tensor w, b;               // of the layer norm, [head, 1, d]
  int64_t chunk_size = 1;        // gradients are taken at the memory of the last position that divides by it
  int64_t first_pos = 0;
  double eps = 1e-6;
};

// Memory, momentum and the memory that gradients are taken at: [batch, head, d, d].
struct TitansState {
  at::Tensor M, S, frozen;
};

struct TitansResult {
  at::Tensor z;                  // q_t M_t
  at::Tensor u;                  // what each token writes: minus the gradient
  std::vector<at::Tensor> M, S;  // of every token, from the naive form
};

// Token by token; hooks (may be null) is asked for hook_state. Differentiable. state is read and replaced.
TitansResult titans_naive(const TitansInput& in, TitansState& state, HookScope* hooks);
// The tokens between two freezes at once.
TitansResult titans_chunk(const TitansInput& in, TitansState& state);
// A [batch, head, pos, pos] over u: 2 theta_s (q_t . k_s) sum_{s<=r<=t} prod_{r<j<=t} keep_j prod_{s<j<=r} eta_j.
at::Tensor titans_pattern(const TitansInput& in);

}  // namespace microtome::mixers
