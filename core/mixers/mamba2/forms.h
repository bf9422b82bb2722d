// forms.h — the state-space dual recurrence over a span of tokens, see README.md. Contract of both: SpanForm in
// recurrence.h; k holds dt_t B_t, and every head has its own q and k.
#pragma once

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

at::Tensor mamba2_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out);
at::Tensor mamba2_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out);

}  // namespace microtome::mixers
