// transition.h — eigenvalues of what a token does to a state. S_t = A_t S_{t-1} + (what is written), where A_t is
// diag(exp g_t), or (I - β_t k_t k_tᵀ) diag(exp g_t) of delta rules. Pure functions of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/base/progress.h"

namespace microtome::analyses::states {

// One head over a prompt, float64 on the CPU. Undefined: the mechanism has none.
struct Transition {
  at::Tensor decay;         // log decay [pos, d_k or 1]
  at::Tensor k;             // [pos, d_k]
  at::Tensor beta;          // [pos]; with it the rule is the delta rule
  int64_t pos = 0, d_k = 0;
};

struct Eigenvalues {
  // kᵀ A_t k / |k|² [pos]: an eigenvalue where the decay is one number a head, exp(g)(1 - β|k|²). NaN without k.
  at::Tensor along_k;
  // Decays of one number a head: that decay (1 without decay), which the d_k - 1 directions across k share: [pos].
  // Decays a channel: all eigenvalues of A_t: [pos, d_k], in the channels' order without β, rising with β.
  at::Tensor rest;
  // Eigenvalues of A_t … A_1 [pos, d_k], largest magnitude first; in the channels' order where A is diagonal.
  at::Tensor product_re, product_im;
};
// Numbers that are not finite give NaN. progress: checked for a cancel every few tokens.
Eigenvalues transition_eigenvalues(const Transition& t, Progress& progress);

}  // namespace microtome::analyses::states
