#include <ATen/ATen.h>

#include "core/mixers/forgetting_attn/forms.h"

namespace microtome::mixers {

at::Tensor forgetting(const at::Tensor& g, const QueryRows& rows, at::ScalarType type) {
  // Differences of sums cancel; the bound keeps them finite where somebody set -inf.
  at::Tensor b = g.to(at::kDouble).clamp_min(-1e4).cumsum(1).transpose(1, 2);   // [batch, head, keys]
  at::Tensor queries = b.index_select(2, rows.own_keys(g.device()));
  return (queries.unsqueeze(3) - b.unsqueeze(2)).to(type);
}

// Forgetting attention, arXiv 2503.02130, eq. 6: a logit loses what was forgotten between the key and the query,
//
//   x[t,s] = scale q_t . k_s + sum_{s < r <= t} g_r;   A = softmax over s <= t;   z_t = sum_s A[t,s] v_s
at::Tensor forgetting_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& g,
                             const AttentionOptions& options, const QueryRows& rows) {
  at::Tensor x = attention_scores(q, k, options, rows);
  return x + forgetting(g, rows, x.scalar_type());
}

}  // namespace microtome::mixers
