// tiles.cuh — scores of a block of queries, 64 keys at a time, on the tensor cores. A warp has 16 · MT queries of all 64 keys;
// of one query's 64 scores a lane has the 16 at keys 8 j + 2 (lane % 4) + {0, 1}. Four lanes that follow one another share a query.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention_statistics/attention_statistics.h"

namespace microtome::kernels {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kTileKeys = 64;
constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kNone = -__builtin_huge_valf();

// How products are taken. kSplit: float32 as a sum of two TF32 numbers, three products.
enum class Products : int { kSplit, kTf32, kBFloat16, kFloat16 };
__host__ __device__ constexpr int bytes_of(Products p) { return p == Products::kSplit || p == Products::kTf32 ? 4 : 2; }

// AttentionScores as the kernels read it.
struct Scores {
  const char *q, *k;
  int64_t q_batch, q_pos, q_head, k_batch, k_pos, k_head;   // strides in bytes
  int count, keys, heads, all_heads, group, d, window, pitch, steps;   // pitch: bytes of a row in shared memory; steps: of 32 bytes
  bool causal, pieces;                                      // pieces: rows are whole, aligned 16-byte pieces
  float factor, scale, softcap, per_softcap;                // factor: scale log2(e); per_softcap: 2 log2(e) / softcap
  const double *slopes, *sinks;
  int64_t past;
  const int64_t* own;
  __device__ int own_of(int i) const { return static_cast<int>(own ? own[i] : past + i); }
  // Keys that a query with this own key sees: begin ≤ j < end.
  __device__ int begin_of(int o) const { return window > 0 ? max(0, o - window + 1) : 0; }
  __device__ int end_of(int o) const { return causal ? min(keys, o + 1) : window > 0 ? min(keys, o + window) : keys; }
};

__device__ __forceinline__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void copy_piece(uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0));
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ void four_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

template <Products P>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (P == Products::kBFloat16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else if constexpr (P == Products::kFloat16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t to_tf32(uint32_t x) {
  uint32_t out;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(__uint_as_float(x)));
  return out;
}
// x = high + low up to 2^-22 of it.
__device__ __forceinline__ void split(uint32_t x, uint32_t& high, uint32_t& low) {
  high = to_tf32(x);
  low = to_tf32(__float_as_uint(__uint_as_float(x) - __uint_as_float(high)));
}

__device__ __forceinline__ float power_of_two(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

// Rows first … of q or k, as bytes in shared memory; what lies behind `rows` or behind d is zero.
__device__ __forceinline__ void fetch_rows(char* to, const char* from, int64_t stride, int first, int rows, int wanted, const Scores& s, int item) {
  const int row_bytes = s.steps * 32, given = s.d * item;
  if (s.pieces) {
    const int pieces = row_bytes / 16;
    for (int i = threadIdx.x; i < wanted * pieces; i += kThreads) {
      const int r = i / pieces, c = (i - r * pieces) * 16;
      const bool inside = first + r < rows && c < given;
      copy_piece(shared_address(to + r * s.pitch + c), inside ? from + (first + r) * stride + c : from, inside);
    }
  } else {
    const int items = row_bytes / item;
    for (int i = threadIdx.x; i < wanted * items; i += kThreads) {
      const int r = i / items, c = (i - r * items) * item;
      const bool inside = first + r < rows && c < given;
      const char* p = from + (first + r) * stride + c;
      char* t = to + r * s.pitch + c;
      if (item == 4) *reinterpret_cast<uint32_t*>(t) = inside ? *reinterpret_cast<const uint32_t*>(p) : 0u;
      else *reinterpret_cast<uint16_t*>(t) = inside ? *reinterpret_cast<const uint16_t*>(p) : uint16_t{0};
    }
  }
}

// acc = q k^T of the warp's queries (shared memory at `queries`, this lane's address) and 64 keys.
template <Products P, int MT>
__device__ __forceinline__ void score_tile(float (&acc)[MT][8][4], uint32_t queries, uint32_t keys, const Scores& s) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int c = 0; c < 4; ++c) acc[m][n][c] = 0;
#pragma unroll 2
  for (int step = 0; step < s.steps; ++step) {
    uint32_t a[MT][4], low[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) {
      four_matrices(a[m], queries + m * 16 * s.pitch + step * 32);
      if constexpr (P == Products::kSplit)
#pragma unroll
        for (int i = 0; i < 4; ++i) split(a[m][i], a[m][i], low[m][i]);
    }
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      uint32_t b[4];
      four_matrices(b, keys + n * 8 * s.pitch + step * 32);
      uint32_t b_low[4];
      if constexpr (P == Products::kSplit)
#pragma unroll
        for (int i = 0; i < 4; ++i) split(b[i], b[i], b_low[i]);
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if constexpr (P == Products::kSplit) {
            multiply<P>(acc[m][n + h], low[m], b[2 * h], b[2 * h + 1]);
            multiply<P>(acc[m][n + h], a[m], b_low[2 * h], b_low[2 * h + 1]);
          }
          multiply<P>(acc[m][n + h], a[m], b[2 * h], b[2 * h + 1]);
        }
    }
  }
}

// A score in units of ln 2 from a product, where it is more than a multiple.
__device__ __forceinline__ float finished(float product, const Scores& s, float slope, int distance) {
  float x = product * s.scale;
  if (s.softcap > 0) x = s.softcap * (1 - 2 * __frcp_rn(1 + power_of_two(x * s.per_softcap)));   // c tanh(x / c)
  return (x + slope * static_cast<float>(distance)) * kLog2e;
}

// Where this lane's pieces begin: of queries (as rows of the left factor) and of keys (as columns of the right one).
__device__ __forceinline__ uint32_t query_address(const char* tile, int first_row, const Scores& s) {
  const int lane = threadIdx.x % 32;
  return shared_address(tile + (first_row + lane % 16) * s.pitch + lane / 16 * 16);
}
__device__ __forceinline__ uint32_t key_address(const char* tile, const Scores& s) {
  const int lane = threadIdx.x % 32;
  return shared_address(tile + (lane % 8 + lane / 16 * 8) * s.pitch + lane / 8 % 2 * 16);
}

// A grid of one row of blocks: the queries with most keys of all heads first, so that what is left at the end is short.
struct BlockPlace {
  int head, row0;                      // head: row of the batch · heads + head
  __device__ BlockPlace(int all_heads, int rows) {
    head = static_cast<int>(blockIdx.x % static_cast<unsigned>(all_heads));
    row0 = static_cast<int>(gridDim.x / static_cast<unsigned>(all_heads) - 1 - blockIdx.x / static_cast<unsigned>(all_heads)) * rows;
  }
};

// The tiles that some query of rows first … last needs, and whether a tile is seen whole by all of them.
struct TileRange {
  int begin, end, lowest, highest;     // tiles; own keys of the first and the last query
  __device__ TileRange(const Scores& s, int first, int last) {
    lowest = s.own_of(first);
    highest = s.own_of(last);
    begin = s.begin_of(lowest) / kTileKeys;
    end = (s.end_of(highest) + kTileKeys - 1) / kTileKeys;
  }
  __device__ bool whole(const Scores& s, int tile) const {
    const int first = tile * kTileKeys;
    return first >= s.begin_of(highest) && first + kTileKeys <= s.end_of(lowest);
  }
};

// Blocks of a grid. 0: more than a grid has.
unsigned blocks_of(const Scores& s, int rows);
// False: a sentence in `why`.
bool read_scores(const AttentionScores& from, Scores& to, Products& products, const char*& why);
// Null, a refusal or a fault.
const char* sentence_of(cudaError_t e);
// Bytes of shared memory that a block of this device may have.
cudaError_t most_shared_memory(int device, int& bytes);

}  // namespace microtome::kernels
