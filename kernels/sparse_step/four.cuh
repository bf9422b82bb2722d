// four.cuh — four neighbouring numbers of a float32 or bfloat16 row, as float4; sums over a warp and a block. Private to this folder.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace microtome::kernels {

__device__ __forceinline__ float4 zero4() { return make_float4(0, 0, 0, 0); }
__device__ __forceinline__ float4 fma4(float v, float4 x, float4 y) {
  return make_float4(fmaf(v, x.x, y.x), fmaf(v, x.y, y.y), fmaf(v, x.z, y.z), fmaf(v, x.w, y.w));
}
__device__ __forceinline__ float4 add4(float4 x, float4 y) { return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w); }
__device__ __forceinline__ float dot4(float4 x, float4 y) { return fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, x.w * y.w))); }

// As they lie in memory, and as float4.
struct FloatRows {
  using Raw = float4;
  static __device__ __forceinline__ Raw load(const void* base, int64_t four) { return __ldg(static_cast<const float4*>(base) + four); }
  static __device__ __forceinline__ float4 wide(Raw r) { return r; }
  static __device__ __forceinline__ Raw zero() { return zero4(); }
};
struct BfloatRows {
  using Raw = uint2;
  static __device__ __forceinline__ Raw load(const void* base, int64_t four) { return __ldg(static_cast<const uint2*>(base) + four); }
  static __device__ __forceinline__ float4 wide(Raw r) {
    return make_float4(__uint_as_float(r.x << 16), __uint_as_float(r.x & 0xffff0000u), __uint_as_float(r.y << 16), __uint_as_float(r.y & 0xffff0000u));
  }
  static __device__ __forceinline__ Raw zero() { return make_uint2(0, 0); }
};

__device__ __forceinline__ uint2 narrow4(float4 v) {
  const __nv_bfloat162 a = __floats2bfloat162_rn(v.x, v.y), b = __floats2bfloat162_rn(v.z, v.w);
  return make_uint2(*reinterpret_cast<const uint32_t*>(&a), *reinterpret_cast<const uint32_t*>(&b));
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
  return v;
}

// Everyone gets it; `scratch` of 33 floats; whole warps.
__device__ __forceinline__ float block_sum(float v, float* scratch) {
  v = warp_sum(v);
  __syncthreads();
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    const float all = warp_sum(threadIdx.x < (blockDim.x >> 5) ? scratch[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) scratch[32] = all;
  }
  __syncthreads();
  return scratch[32];
}

}  // namespace microtome::kernels
