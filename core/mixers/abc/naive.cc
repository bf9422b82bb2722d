#include <ATen/ATen.h>

#include "core/mixers/abc/forms.h"

namespace microtome::mixers {

// Attention with bounded memory control, arXiv 2110.02488, eq. 6: a slot is the mean of what was written to it, weighted
// by exp(logit). As a running mean, with z_t = log sum_{r<=t} exp(logit_r):
//
//   s_t = exp(logit_t - z_t);   g_t = z_{t-1} - z_t
AbcGates abc_gates_naive(const at::Tensor& logits, at::Tensor& lse) {
  std::vector<at::Tensor> s, g;
  for (int64_t t = 0; t < logits.size(1); ++t) {
    at::Tensor logit = logits.select(1, t), z = lse.defined() ? at::logaddexp(lse, logit) : logit;
    // Nothing was there to decay before the first token.
    g.push_back(lse.defined() ? lse - z : at::zeros_like(z));
    s.push_back((logit - z).exp());
    lse = z;
  }
  return {at::stack(s, 1), at::stack(g, 1)};
}

}  // namespace microtome::mixers
