// forms.h — the recurrence over a span of tokens, see README.md. Contract of both: SpanForm in recurrence.h.
#pragma once

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

at::Tensor gated_delta_product_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out);
at::Tensor gated_delta_product_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out);
// What all steps of token t together add to the decayed state.
at::Tensor gated_delta_product_write(const RecurrenceInput& in, int64_t t, const at::Tensor& before,
                                     const at::Tensor& decayed);

}  // namespace microtome::mixers
