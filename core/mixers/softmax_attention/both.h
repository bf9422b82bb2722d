// both.h — scores and pattern where both are looked at and neither is changed (kernels/masked_softmax).
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

// attention_scores and attention_pattern of it; both undefined where the kernel does not cover the case.
std::pair<at::Tensor, at::Tensor> scores_and_pattern(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows);

}  // namespace microtome::mixers
