// op.h — a slot memory alone, on given tensors named as in the reference files (`microtome mixer`).
#pragma once

#include "core/mixers/recurrence.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// keys: q, k, v = s and g as slot_scores_naive has them; values [batch, pos, state head, d_v]; inputs hk0 [batch, state
// head, d_k, slot] and hv0 [batch, state head, slot, d_v] of the request. Results: o, p (the slots' weights), final_hk,
// final_hv, and on request A and every state (hk_name, hv_name). Throws Error(kBadInput) naming the input and both shapes.
MixerOpResult run_slot_op(const LinearRecurrence::Kind& kind, const RecurrenceInput& keys, const at::Tensor& values,
                          const MixerOpRequest& request, const char* hk_name, const char* hv_name);
// q, k, v and s of the request, s as v of the result; checked against each other.
RecurrenceInput slot_op_input(const MixerOpRequest& request);

}  // namespace microtome::mixers
