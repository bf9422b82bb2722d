// load.cuh — what the choice among rows and that among a whole batch share: reading numbers as they are compared, (pre + bias) · scale,
// the largest of every thread's columns, sums over a block of kThreads. Private to this folder.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/top_choice/top_choice.h"

namespace microtome::kernels {

struct Eight { float v[8]; };

__device__ __forceinline__ Eight load8(const float* p) {
  const float4 a = __ldg(reinterpret_cast<const float4*>(p)), b = __ldg(reinterpret_cast<const float4*>(p) + 1);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ __forceinline__ Eight load8(const __nv_bfloat16* p) {
  const uint4 a = __ldg(reinterpret_cast<const uint4*>(p));
  auto low = [](uint32_t w) { return __uint_as_float(w << 16); };
  auto high = [](uint32_t w) { return __uint_as_float(w & 0xffff0000u); };
  return {{low(a.x), high(a.x), low(a.y), high(a.y), low(a.z), high(a.z), low(a.w), high(a.w)}};
}

__device__ __forceinline__ void fill8(Eight& e, float v) {
#pragma unroll
  for (int i = 0; i < 8; ++i) e.v[i] = v;
}

__device__ __forceinline__ float compared(float pre, float bias, float scale) { return __fmul_rn(__fadd_rn(pre, bias), scale); }

// NaN wins, whatever its sign.
__device__ __forceinline__ float larger(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// Orders what may be chosen: 0 for what may not, else the float's bits; NaN is the largest.
__device__ __forceinline__ int key_of(float v) { return v <= 0.0f ? 0 : v != v ? 0x7fffffff : __float_as_int(v); }

constexpr int kThreads = 512, kWarps = kThreads / 32;

// Keys of eight neighbours of a row.
template <class T>
__device__ __forceinline__ void keys_of_eight(const TopRows& t, const T* row, int64_t c, int (&keys)[8]) {
  const Eight v = load8(row + c);
  Eight bias, scale;
  if (t.bias) bias = load8(t.bias + c);
  else fill8(bias, 0);
  if (t.scale) scale = load8(t.scale + c);
  else fill8(scale, 1);
#pragma unroll
  for (int i = 0; i < 8; ++i) keys[i] = key_of(compared(v.v[i], bias.v[i], scale.v[i]));
}

template <class T>
__device__ __forceinline__ int key_at(const TopRows& t, const T* row, int64_t c) {
  return key_of(compared(static_cast<float>(row[c]), t.bias ? t.bias[c] : 0.0f, t.scale ? t.scale[c] : 1.0f));
}

// Of `here` rows from `pre` on: the largest of the columns 8 (thread + n · kThreads) … + 7, at least 0.
template <class T, int kRows, int kBlock>
__device__ __forceinline__ void largest_of_threads(const TopRows& t, const T* pre, int here, float (&most)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) most[r] = 0;
  for (int64_t c = threadIdx.x * 8; c < t.columns; c += kBlock * 8) {
    Eight row[kRows], bias, scale;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (r < here) row[r] = load8(pre + r * t.columns + c);
      else fill8(row[r], 0);
    if (t.bias) bias = load8(t.bias + c);
    else fill8(bias, 0);
    if (t.scale) scale = load8(t.scale + c);
    else fill8(scale, 1);
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < 8; ++i) most[r] = larger(most[r], compared(row[r].v[i], bias.v[i], scale.v[i]));
  }
}

// Sum over the block; everyone gets it. `scratch` [kWarps + 1].
__device__ __forceinline__ int block_sum(int v, int* scratch) {
  v = __reduce_add_sync(0xffffffffu, v);
  __syncthreads();
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    const int all = __reduce_add_sync(0xffffffffu, threadIdx.x < kWarps ? scratch[threadIdx.x] : 0);
    if (threadIdx.x == 0) scratch[kWarps] = all;
  }
  __syncthreads();
  return scratch[kWarps];
}

// Sum over the threads before this one. `scratch` [kWarps].
__device__ __forceinline__ int block_before(int v, int* scratch) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int sum = v;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const int other = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  int before = sum - v;
  for (int w = 0; w < warp; ++w) before += scratch[w];
  return before;
}

}  // namespace microtome::kernels
