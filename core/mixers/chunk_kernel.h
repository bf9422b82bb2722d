// chunk_kernel.h — the recurrence in chunks on a GPU's tensor cores (kernels/chunk), where those kernels cover the case: what a run
// over many tokens costs, with states, norms and the pattern's diagonal blocks written down on the way. Elsewhere the chunk form in
// tensor operations does it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/mixers/scan.h"

namespace microtome::mixers {

// What a pass is to write down beside its outputs. keep and want_written as of a scan.
struct ChunkNotes : ScanNotes {
  std::vector<int64_t> keep_normalizer;   // of normalised kinds: tokens after which the normaliser is kept, ascending
  at::Tensor kept_normalizer;             // [batch, keep_normalizer, head, d_k]
  bool want_norms = false, want_pattern = false;
  at::Tensor write_norm, read_norm;       // |k_t| |w_t| [batch, pos, head], |z_t| [batch, pos, query head]; z before a normaliser
  at::Tensor pattern;                     // diagonal blocks [batch, query head, chunks, 64, 64] of the implied pattern, unnormalised
};

// Null: the kernels take it (q, k, v of one type: float32, or bfloat16 or half, which are then read as they are; state float32).
// Otherwise a sentence that says why not.
const char* chunk_kernel_refuses(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const RecurrentState& state);
// Whether something of it is to be differentiated: then nothing is noted.
bool chunk_kernel_differentiated(const RecurrenceInput& in, const RecurrentState& state);
// Why this build has no kernels for kinds with or without a delta rule; empty: it has.
const std::string& chunk_kernel_missing(bool delta);
// Contract of SpanForm, but z is of q's type; notes may be null. Differentiable in q, k, v, g, beta and the state: by the kernels'
// backward where it covers the case, else through kind.chunk. Products in TF32 where LibTorch may take it for float32. On the
// current stream. Throws Error(kFailed) where the GPU refuses.
at::Tensor chunk_kernel(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, RecurrentState& state, bool read_out, ChunkNotes* notes);

}  // namespace microtome::mixers
