// forms.h — the first half of MesaNet, see README.md: the covariance of the keys, and the query solved by it. The second
// half is a gated linear attention (simple_gla) with the solved query.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace microtome::mixers {

// All in one type, float32 or float64.
struct MesaInput {
  at::Tensor q, k;           // [batch, pos, head, d_k]
  at::Tensor g, beta;        // [batch, pos, head]
  at::Tensor ridge;          // [head, d_k], positive
};

// Hkk [batch, head, d_k, d_k] is read and replaced. Returns the solved queries [batch, pos, head, d_k]. changed, where
// given, is asked for each token's Hkk and may return another.
using CovarianceHook = std::function<at::Tensor(int64_t t, const at::Tensor& Hkk)>;
at::Tensor mesa_solve_naive(const MesaInput& in, at::Tensor& Hkk, const CovarianceHook& changed = nullptr);
at::Tensor mesa_solve_chunk(const MesaInput& in, at::Tensor& Hkk);

}  // namespace microtome::mixers
