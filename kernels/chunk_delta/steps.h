// steps.h — what the kernels of this folder hand to one another. One segment of chunks at a time goes through prepare(), walk()
// and expand(); the workspace holds what they exchange.
#pragma once

#include <cuda_runtime.h>

#include "kernels/chunk/chunk.h"

namespace microtome::kernels::delta {

// A chunk of 64 tokens of one (batch, head), with b the sum of g from the chunk's start, G[t,s] = exp(b_t - b_s) and
// L = stril(diag(beta) (K K^T ∘ G)). Prepared, for all chunks at once:
//   solve  T = (I + L)^-1 diag(beta)              scores  A = scale tril(Q K^T ∘ G), one for each query head of the group
// and the decays: from exp(b_t), to exp(b_C - b_t), whole exp(b_C) where they are a number a token; where they are a number a
// channel, the keys and queries that contain them: k_from = K ∘ from, k_to = K ∘ to, q_from = Q ∘ from.
// Walked, chunk after chunk, with the state S before each:
//   w = T (V - K_from S);   Z = scale Q_from S + A w;   S' = whole ∘ S + K_to^T w
struct Segment {
  Chunk in;
  int64_t first = 0, chunks = 0;       // of all chunks of a run
  int64_t parts = 0;                   // groups of 16 columns of d_v
  // [batch * heads, chunks, ...]; T and A as lower triangles in fragment order (tiles.cuh)
  void *solve = nullptr, *scores = nullptr;            // scores: [.., group, ...]
  float* decays = nullptr;             // [.., 128] (from, to), or [.., d_k] (whole)
  void *k_from = nullptr, *k_to = nullptr, *q_from = nullptr;   // [.., 64, d_k], queries [.., group, 64, d_k]
  float* starts = nullptr;             // S before each chunk [.., d_k, d_v]
  float* values = nullptr;             // w [batch, tokens of the segment, heads, d_v]; null: in.written
  float *write_parts = nullptr, *read_parts = nullptr; // sums of squares [parts, batch, tokens of the segment, heads (* group)]
  // Backward (one query head a state head). y = (I + L)^-T dw, so that dX = beta y.
  bool backward = false;               // the walk notes all starts, X and w in the element type, [batch * heads, chunks, 64, d_v]
  void *bare = nullptr;                // (I + L)^-1, as solve
  void *inputs = nullptr, *writes = nullptr, *answers = nullptr;   // X, w, y
  float* ends = nullptr;               // gradient of the state after each chunk, as starts
  float* adjoint = nullptr;            // gradient of the state after the segment, then before it [batch, heads, d_k, d_v]
  bool beside = false;                 // the walk runs beside other kernels
};

// Null or the runtime's sentence.
const char* prepare(const Segment& s, cudaStream_t stream);
const char* walk(const Segment& s, cudaStream_t stream);
// The states of tokens inside chunks, and the norms.
const char* expand(const Segment& s, cudaStream_t stream);

// From the last chunk to the first: the gradient of the state, y and dv; then, for all chunks at once, the other gradients.
const char* walk_back(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream);
const char* finish_gradients(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream);
// With a decay a channel; its shared memory for elements of so many bytes.
const char* finish_channel_gradients(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream);
constexpr int finish_channel_bytes(int element) { return (2 * 64 * 72 + 3 * 64 * 64 + 13 * 64) * 4 + 6 * 64 * 72 * element; }

inline const char* sentence(cudaError_t e) { return e == cudaSuccess ? nullptr : cudaGetErrorString(e); }
inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t chunks_of(const Chunk& in) { return (in.positions + kChunkTokens - 1) / kChunkTokens; }
inline int element_bytes(const Chunk& in) { return in.element == Element::kFloat32 ? 4 : 2; }
inline int padded_keys(const Chunk& in) { return in.d_k <= 32 ? 32 : in.d_k <= 64 ? 64 : in.d_k <= 128 ? 128 : 256; }

// Shared memory of the walks, in bytes; keys: d_k rounded up.
struct WalkShape {
  int warps, stages, pitch, v_pitch, block_bytes, tile_bytes, v_bytes, first_bytes, second_bytes, exchange_bytes, staging_bytes;
  bool by_channel, wide;
  int bytes() const { return stages * (first_bytes + second_bytes) + warps * (2 * exchange_bytes + staging_bytes); }
};

// First ring, a chunk: K_from (K), K_to by channel, T, decays, V. Second ring, a query head of a chunk: Q_from (Q), A. Then for each
// 16 columns two times the state and w (wide: in float32), and a place to turn outputs in where the latter is read again for other query heads.
inline WalkShape walk_shape(int element, int keys, int warps, int stages, bool by_channel, bool grouped, bool wide) {
  WalkShape w;
  w.warps = warps;
  w.stages = stages;
  w.by_channel = by_channel;
  w.pitch = keys + 8;
  w.v_pitch = warps * 16 + 8;
  w.block_bytes = 10 * 256 * element;
  w.tile_bytes = static_cast<int>(kChunkTokens) * w.pitch * element;
  w.v_bytes = static_cast<int>(kChunkTokens) * w.v_pitch * element;
  w.first_bytes = w.tile_bytes * (by_channel ? 2 : 1) + w.block_bytes + (by_channel ? keys : 2 * static_cast<int>(kChunkTokens)) * 4 + w.v_bytes;
  w.second_bytes = w.tile_bytes + w.block_bytes + 2 * static_cast<int>(kChunkTokens) * 4;
  w.wide = wide;
  w.exchange_bytes = (keys + static_cast<int>(kChunkTokens)) * 16 * (wide ? 4 : 2);
  w.staging_bytes = grouped ? static_cast<int>(kChunkTokens) * 24 * element : 0;
  return w;
}

// A stage: keys as writers, queries, by channel keys as readers; (I + L)^-1, A, decays, beta, dZ.
struct BackShape {
  int warps, stages, pitch, v_pitch, block_bytes, tile_bytes, v_bytes, decay_bytes, stage_bytes;
  bool by_channel;
};

inline BackShape back_shape(int element, int keys, int warps, int stages, bool by_channel) {
  const WalkShape w = walk_shape(element, keys, warps, stages, by_channel, false, true);
  const int decays = (by_channel ? keys : 2 * static_cast<int>(kChunkTokens)) * 4;
  return {warps, stages, w.pitch, w.v_pitch, w.block_bytes, w.tile_bytes, w.v_bytes, decays,
          (by_channel ? 3 : 2) * w.tile_bytes + 2 * w.block_bytes + decays + static_cast<int>(kChunkTokens) * 4 + w.v_bytes, by_channel};
}

}  // namespace microtome::kernels::delta
