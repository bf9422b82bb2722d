// forms.h — the recurrence over a span of tokens, see README.md. Contract of both: SpanForm in recurrence.h.
#pragma once

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

at::Tensor rwkv6_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out);
at::Tensor rwkv6_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out);

}  // namespace microtome::mixers
