// chunk.h — a linear recurrence with a matrix state in chunks of tokens, on the GPU's tensor cores:
//
//   S' = exp(g_t) ∘ S_{t-1};   S_t = S' + k_t w_t^T;   z_t = scale S_t^T q_t;   w_t = v_t, or beta_t (v_t - S'^T k_t)
//
// Notation and sources: core/mixers/recurrence.h; what happens in a chunk: core/mixers/chunked.h and the mixers' chunk.cc.
// What is looked at is written down in the same pass. Kernels: kernels/chunk_linear (w = v), kernels/chunk_delta (delta rules).
#pragma once

#include <cstdint>

namespace microtome::kernels {

enum class Element { kFloat32, kBFloat16, kFloat16 };

// Arrays are dense, row-major; null where not given. Heads are those of the state; query head h reads state head h / group.
// q, k, v, z and their gradients are of type `element`; everything else is float32.
struct Chunk {
  Element element = Element::kFloat32;
  bool tf32 = false;                   // float32 operands may be rounded to TF32 in products; otherwise float32 accuracy
  int64_t batch = 0, positions = 0, heads = 0, group = 1, d_k = 0, d_v = 0;
  const void* q = nullptr;             // [batch, pos, heads * group, d_k]
  const void* k = nullptr;             // [batch, pos, heads, d_k]
  const void* v = nullptr;             // [batch, pos, heads, d_v]
  const float* g = nullptr;            // log decay [batch, pos, heads, g_width]
  int64_t g_width = 0;                 // 0: no decay; 1; d_k
  const float* beta = nullptr;         // [batch, pos, heads]: the delta rule's; null: w = v
  double scale = 1;
  float* state = nullptr;              // [batch, heads, d_k, d_v], read and replaced
  void* z = nullptr;                   // [batch, pos, heads * group, d_v]; null: the state alone is wanted
  // What is noted on the way; all optional.
  float* kept = nullptr;               // [batch, kept_count, heads, d_k, d_v]
  int64_t kept_count = 0;
  const int64_t* slots = nullptr;      // [pos]: which of `kept` the state after a token is; -1: none
  float* written = nullptr;            // w [batch, pos, heads, d_v]
  float* write_norm = nullptr;         // |k_t| |w_t|, the Frobenius norm of what a token writes [batch, pos, heads]
  float* read_norm = nullptr;          // |z_t| [batch, pos, heads * group]
  float* pattern = nullptr;            // diagonal blocks of the implied pattern [batch, heads * group, chunks, C, C] (C = kChunkTokens)
  void* workspace = nullptr;           // chunk_workspace() bytes
};

constexpr int64_t kChunkTokens = 64;

// Gradients of z (and of the last state) with respect to everything given. `in` as in the forward pass, its `state` the
// incoming one, which is left as it is.
struct ChunkGradient {
  Chunk in;
  const void* dz = nullptr;            // as z
  const float* dstate = nullptr;       // as state, of the last one; null: zero
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float *dg = nullptr, *dbeta = nullptr;
  float* dstate_in = nullptr;          // null: not wanted
};

// Bytes of device memory that a call needs (forward or backward); -1: the case is not covered (the caller then uses the chunk
// form in tensor operations and says so).
using ChunkWorkspace = int64_t (*)(const Chunk& in, bool backward);
// Start on a CUDA device's stream (null: the default one) and return; null or a sentence that says why not.
using ChunkForward = const char* (*)(const Chunk& in, int device, void* stream);
using ChunkBackward = const char* (*)(const ChunkGradient& gradient, int device, void* stream);

constexpr char kChunkLinearWorkspace[] = "microtome_chunk_linear_workspace", kChunkLinearForward[] = "microtome_chunk_linear_forward",
               kChunkLinearBackward[] = "microtome_chunk_linear_backward";
constexpr char kChunkDeltaWorkspace[] = "microtome_chunk_delta_workspace", kChunkDeltaForward[] = "microtome_chunk_delta_forward",
               kChunkDeltaBackward[] = "microtome_chunk_delta_backward";

}  // namespace microtome::kernels
