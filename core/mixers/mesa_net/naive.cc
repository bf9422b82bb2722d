#include <ATen/ATen.h>

#include "core/mixers/mesa_net/forms.h"

namespace microtome::mixers {

// MesaNet, arXiv 2506.05233, eq. 7: the query that minimises the regularised in-context regression loss,
//
//   H_t = exp(g_t) H_{t-1} + beta_t k_t k_t^T;   q*_t = (H_t + diag(ridge))^-1 q_t
at::Tensor mesa_solve_naive(const MesaInput& in, at::Tensor& Hkk, const CovarianceHook& changed) {
  at::Tensor ridge = at::diag_embed(in.ridge);
  std::vector<at::Tensor> solved;
  for (int64_t t = 0; t < in.q.size(1); ++t) {
    at::Tensor k = in.k.select(1, t), kept = in.g.select(1, t).exp().unsqueeze(-1).unsqueeze(-1);
    at::Tensor scaled = k * in.beta.select(1, t).unsqueeze(-1);
    Hkk = kept * Hkk + scaled.unsqueeze(-1) * k.unsqueeze(-2);
    if (changed) Hkk = changed(t, Hkk);
    solved.push_back(at::linalg_solve(Hkk + ridge, in.q.select(1, t).unsqueeze(-1)).squeeze(-1));
  }
  return at::stack(solved, 1);
}

}  // namespace microtome::mixers
