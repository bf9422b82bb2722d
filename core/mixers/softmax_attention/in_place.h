// in_place.h — softmax attention of one token over keys and values that stay where they are (core/mixers/cursor.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "core/mixers/cursor.h"
#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// q [batch, 1, head, d]; k, v [batch, 1, kv head, d], written at the cursor's position of the state's "k" and "v" [batch, room,
// kv head, d]. Returns z [batch, 1, head, d_v] in q's type. No ALiBi. Throws Error(kInternal) where the state has no room.
at::Tensor attend_in_place(const Cursor& cursor, MixerState* state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionOptions& options);

// Keys or values kept by runs before [batch, pos, kv head, d], the last of them at `position` - 1, with room for `room` of them.
at::Tensor with_room(const at::Tensor& kept, int64_t position, int64_t room);

}  // namespace microtome::mixers
