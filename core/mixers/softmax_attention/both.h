// both.h — attention whose scores and pattern are both looked at and neither is changed (kernels/masked_softmax).
#pragma once

#include <ATen/core/Tensor.h>

#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

struct Looked {
  at::Tensor scores, pattern, z;       // attention_scores, attention_pattern, attention_mix; undefined where not covered
};
Looked attention_looked_at(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options, const QueryRows& rows);

}  // namespace microtome::mixers
