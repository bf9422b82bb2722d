// forms.h — softmax attention with forget gates, apart from weights and hooks. Pure functions; thread-safe;
// differentiable.
#pragma once

#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

// Sum of the log forget gates after the key s and up to the query t: [batch, head, count, keys]. g [batch, keys, head],
// taken up in float64; the result has the type asked for. Keys after the query are not meant to be read.
at::Tensor forgetting(const at::Tensor& g, const QueryRows& rows, at::ScalarType type);
// Scores after the mask: attention_scores and the forgetting.
at::Tensor forgetting_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& g,
                             const AttentionOptions& options, const QueryRows& rows);
// z by the library's fused kernel, with the forgetting as its mask. In q's type.
at::Tensor forgetting_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& g,
                            const AttentionOptions& options, const QueryRows& rows);

}  // namespace microtome::mixers
