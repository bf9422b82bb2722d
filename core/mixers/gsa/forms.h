// forms.h — the first half of a slot memory, see README.md: what the query finds in each slot. The second half is a gated
// linear attention (gla) whose keys are the slots.
#pragma once

#include "core/hooks/hook_scope.h"
#include "core/mixers/recurrence.h"

namespace microtome::mixers {

// The slots of the keys, decayed by slot:
//
//   H_t = H_{t-1} diag(exp(g_t)) + k_t s_t^T;   result_t = scale H_t^T q_t
//
// in: q, k [batch, pos, head, d_k], v = s [batch, pos, state head, slot], g [batch, pos, state head, slot]; state.S = H
// [batch, state head, d_k, slot]. Contract of SpanForm; the result is [batch, pos, head, slot].
at::Tensor slot_scores_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out);
at::Tensor slot_scores_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out);

// The softmax over slots of a whole run's scores: how the query reads the slots [batch, pos, head, slot]. Head counts of
// k, v and g may each be fewer than the state's. H is read (undefined: zero) and replaced. hooks, where given, is asked
// for hook_state.hk; states nobody asked for are not made. Throws Error(kUnsupported) for a form that does not exist,
// Error(kBadInput) for a state of another shape.
at::Tensor read_slots(RecurrenceInput in, at::Tensor& H, HookScope* hooks, MixerForm form, const char* kind);

}  // namespace microtome::mixers
