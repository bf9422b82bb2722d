// looked_at.h — softmax attention between q, k, v and z as whoever looks at it sees it: scores, the pattern, and what is asked of
// the pattern without it. For every mixer that ends in softmax attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/hooks/hook_scope.h"
#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

// hook_attn_scores, hook_pattern (with a note), hook_pattern_statistics, hook_pattern_targets, hook_pattern_at.
std::vector<HookPoint> pattern_points(int64_t heads, const std::string& pattern_note);

// z [batch, count, head, d_v] in q's type; asks hooks for the points above. The pattern is made whole where a form or a hook
// wants it so, else z comes from the fused form or a block of queries at a time. first_pos: position of this run's first token in
// the sequence, at least rows.past; keys before the first one given count as unseen.
at::Tensor attend_hooked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, HookScope& hooks, MixerForm form,
                         const AttentionOptions& options, const QueryRows& rows, int64_t first_pos);

}  // namespace microtome::mixers
