// pass.h — one pass over the tokens, which the forward and the backward of chunk_linear are made of:
//
//   S_t = D_t ∘ S_{t-1} + k_t v_t^T;   z_t = scale S_t^T q_t
//
// D_t decays rows of S (the keys' channels) or its columns (the values'), or all of it. Tokens are taken in their order or from the
// last one to the first (then what decays the state before token t is the gate of token t + 1).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/chunk/chunk.h"

namespace microtome::kernels::chunk_linear {

enum Decay { kNone = 0, kAll = 1, kRows = 2, kColumns = 3 };

struct Pass {
  // d_k, d_v: rows and columns of the state. There are heads * group heads at work; `group` of them have the same state, which the
  // first one leaves behind. Arrays may have fewer heads: head h then has head h / (heads at work / theirs).
  int batch = 0, positions = 0, heads = 0, group = 1, d_k = 0, d_v = 0;
  int q_heads = 0, k_heads = 0, v_heads = 0, g_heads = 0;
  const void *q = nullptr, *k = nullptr, *v = nullptr;   // [batch, pos, heads, d]; q null: nothing is read out
  const float* g = nullptr;                              // [batch, pos, heads, 1 or rows or columns]
  Decay decay = kNone;
  bool reverse = false;
  float scale = 1;
  // A run is cut into segments of `segment_chunks` chunks; each has a state of its own, first at [batch, head, segment].
  int segments = 1, segment_chunks = 0;
  const float* state_in = nullptr;     // null: zero; [batch, head, segments, rows, columns]
  bool in_transposed = false, in_whole = false;          // in_whole: [batch, in_heads, rows, columns], that of the first segment
  int in_heads = 0;                    // fewer than heads: the first of those that share one has it, the others zero
  float in_scale = 1, out_scale = 1;   // of states that are whole
  float* state_out = nullptr;          // the same of states behind a segment; null: not wanted
  bool out_whole = false;              // the last segment's alone
  void* z = nullptr;                   // [batch, pos, heads at work, d_v]
  bool z_float = false;                // float32 whatever the operands are
  float* kept = nullptr;
  int64_t kept_count = 0;
  const int64_t* slots = nullptr;
  float *written = nullptr, *write_norm = nullptr, *pattern = nullptr;
  float* read_squares = nullptr;       // [halves * parts, batch, pos, query heads]: |z|^2 by groups of columns
};

// By type of the operands, a file each; the error is what the launch says, cudaErrorNotSupported: no such case.
cudaError_t start_bfloat16(const Pass& p, cudaStream_t stream);
cudaError_t start_float16(const Pass& p, cudaStream_t stream);
cudaError_t start_tf32(const Pass& p, cudaStream_t stream);
cudaError_t start_float32(const Pass& p, cudaStream_t stream);

// How a shape is laid out, the same for starting and for asking: bytes of shared memory (-1: no kernel), parts of columns.
struct Layout {
  int keys = 0, columns = 0, halves = 2, parts = 0, stages = 0, states = 0;
  int64_t bytes = -1;
};
Layout layout_of(bool wide, int d_k, int d_v, Decay decay, int64_t shared_limit);
int64_t shared_limit();                // of the current device

// How a pass is cut, and the bytes of workspace that this takes.
struct Plan {
  Layout at;
  int segments = 1, segment_chunks = 0;
  int64_t states = 0, decays = 0;
  int64_t bytes() const { return states + decays; }
};
Plan plan_of(const Pass& p, bool wide, int64_t limit);
// A whole pass, its segments with all that they need. first: the state before it, [batch, p.in_heads, rows, columns] or with the
// last two exchanged, null: zero; last: where the one behind it goes, null: nowhere.
cudaError_t run_pass(const Chunk& in, Pass p, const Plan& plan, const float* first, float* last, char* memory, cudaStream_t stream);

Pass pass_of(const Chunk& in);         // the forward's
bool covered(const Chunk& in);
inline int64_t up(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t backward_workspace(const Chunk& in);
cudaError_t backward(const ChunkGradient& gradient, cudaStream_t stream);

}  // namespace microtome::kernels::chunk_linear
