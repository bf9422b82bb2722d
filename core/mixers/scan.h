// scan.h — the recurrence token by token in one pass over the tokens (kernels/scan), where its kernels cover the case: what
// decoding and looking at states cost. Elsewhere the naive form, which is the same loop in tensor operations, does it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

// What a scan is to write down beside its outputs.
struct ScanNotes {
  std::vector<int64_t> keep;           // tokens after which the state is kept, ascending
  at::Tensor kept;                     // [batch, keep, head, d_k, d_v]
  bool want_written = false;
  at::Tensor written;                  // w of every token [batch, pos, head, d_v]: it writes k w^T
  at::Tensor normalizer;               // of normalised kinds, after every token [batch, pos, head, d_k]
};

// Writes of v, of the delta rule (several a token, too), of Comba, RWKV-6 and RWKV-7; nothing of it differentiated; on a GPU float32,
// at most 256 keys and the kernels' library there. write_wanted: `written` is asked for, which RWKV-7 and several writes a token do
// not have.
bool scan_covers(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const RecurrentState& state, bool write_wanted = false);
// Why there are no kernels for the GPU in this build; empty: there are.
const std::string& scan_missing();
// Contract of SpanForm; notes may be null. Throws Error(kFailed) where the GPU refuses.
at::Tensor scan(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, RecurrentState& state, bool read_out, ScanNotes* notes);

}  // namespace microtome::mixers
