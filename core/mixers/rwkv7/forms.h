// forms.h — the recurrence over a span of tokens, see README.md. Contract of both: SpanForm in recurrence.h.
#pragma once

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

at::Tensor dplr_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out);
at::Tensor dplr_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out);
// b_t (S_{t-1}^T a_t)^T + k_t v_t^T.
at::Tensor dplr_write(const RecurrenceInput& in, int64_t t, const at::Tensor& before, const at::Tensor& decayed);

}  // namespace microtome::mixers
