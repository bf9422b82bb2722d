// A warp a gradient row of a feature (there are two): summed in registers, entry by entry, and written once. Features with many entries are
// noted and done by whole blocks afterwards, entries dealt to the warps and the warps' sums added in their order.
#include <cuda_runtime.h>

#include "kernels/sparse_step/four.cuh"
#include "kernels/sparse_step/sparse_step.h"

namespace microtome::kernels {
namespace {

constexpr int kWarps = 4, kManyWarps = 16, kMany = 128;

__device__ __forceinline__ const void* at_out_of(const GradientStep& g, int64_t f) {
  int level = 0;
  while (f >= g.ends[level]) ++level;
  const int64_t numbers = level * g.rows * g.width_out;
  return g.bfloat16 ? static_cast<const void*>(static_cast<const __nv_bfloat16*>(g.at_out) + numbers) : static_cast<const void*>(static_cast<const float*>(g.at_out) + numbers);
}

// Which of a feature's two gradient rows: code · at_out for W_dec, at_code · x for W_enc.
struct Side {
  const void* from;
  int64_t width4;
  float4* out;
  const float4* extra;
  bool of_dec;
};
__device__ __forceinline__ Side side_of(const GradientStep& g, int64_t f, int slot, bool of_dec) {
  Side s;
  s.of_dec = of_dec;
  s.width4 = (of_dec ? g.width_out : g.width_in) / 4;
  s.from = of_dec ? at_out_of(g, f) : g.x;
  s.out = reinterpret_cast<float4*>(of_dec ? g.of_dec : g.of_enc) + f * s.width4;
  s.extra = slot >= 0 ? reinterpret_cast<const float4*>(of_dec ? g.extra_dec : g.extra_enc) + slot * s.width4 : nullptr;
  return s;
}

// Sums of kFour · 32 fours of the row, beginning at `slab`: entries from, from + step, ….
template <class Rows, int kFour>
__device__ __forceinline__ void sum_entries(const GradientStep& g, const Side& s, int64_t slab, int from, int end, int step, float4 (&sum)[kFour]) {
  constexpr int kAhead = 2;                              // more would cost warps their registers
  const int lane = threadIdx.x & 31;
  for (int p = from; p < end; p += kAhead * step) {
    float by[kAhead];
    typename Rows::Raw row[kAhead][kFour];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const bool there = p + u * step < end;
      const int4 raw = there ? __ldg(reinterpret_cast<const int4*>(g.grouped) + p + u * step) : make_int4(0, 0, 0, 0);
      by[u] = __int_as_float(s.of_dec ? raw.y : raw.z);
#pragma unroll
      for (int j = 0; j < kFour; ++j) {
        const int64_t i = slab + j * 32 + lane;
        row[u][j] = there && i < s.width4 ? Rows::load(s.from, raw.x * s.width4 + i) : Rows::zero();
      }
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u)
#pragma unroll
      for (int j = 0; j < kFour; ++j) sum[j] = fma4(by[u], Rows::wide(row[u][j]), sum[j]);
  }
}

// What is left once a feature's rows are summed: its bias, whether it fired. One thread.
__device__ __forceinline__ float finish_feature(const GradientStep& g, int64_t f, int from, int end, int slot, float bias) {
  if (slot >= 0) bias += g.extra_bias[slot];
  g.of_bias[f] = bias;
  g.touched[f] = end > from || slot >= 0;
  if (g.silent) g.silent[f] = end > from ? 0 : g.silent[f] + g.rows;
  return bias;
}

template <class Rows, int kFour>
__global__ void __launch_bounds__(kWarps * 32) gradients(const __grid_constant__ GradientStep g) {
  const int lane = threadIdx.x & 31;
  const int64_t f = static_cast<int64_t>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (f >= g.features) return;
  const bool of_dec = blockIdx.y == 0;
  const int from = g.from[f], end = g.from[f + 1], slot = g.slot ? g.slot[f] : -1;
  if (end - from > kMany) {
    if (of_dec && lane == 0) g.longest[1 + atomicAdd(g.longest, 1)] = static_cast<int>(f);   // the order of the list reaches no result
    return;
  }
  float square = 0;
  if (!of_dec) {
    float bias = 0;
    for (int p = from + lane; p < end; p += 32) bias += g.grouped[p].at_code;
    bias = warp_sum(bias);
    if (lane == 0) {
      bias = finish_feature(g, f, from, end, slot, bias);
      square = bias * bias;
    }
  }
  float* squares = g.squares + (of_dec ? 0 : g.features) + f;
  if (from == end && slot < 0 && !g.zero_rows) {
    if (lane == 0) *squares = 0;
    return;
  }
  const Side s = side_of(g, f, slot, of_dec);
  const float4* across = of_dec && g.across ? reinterpret_cast<const float4*>(g.across) + f * s.width4 : nullptr;
  float along = 0;
  for (int64_t slab = 0; slab < s.width4; slab += kFour * 32) {
    float4 sum[kFour];
#pragma unroll
    for (int j = 0; j < kFour; ++j) {
      const int64_t i = slab + j * 32 + lane;
      sum[j] = s.extra && i < s.width4 ? __ldg(s.extra + i) : zero4();
    }
    sum_entries<Rows, kFour>(g, s, slab, from, end, 1, sum);
#pragma unroll
    for (int j = 0; j < kFour; ++j) {
      const int64_t i = slab + j * 32 + lane;
      if (i >= s.width4) continue;
      s.out[i] = sum[j];
      if (across) along += dot4(sum[j], __ldg(across + i));
      else square += dot4(sum[j], sum[j]);
    }
  }
  if (across) {
    along = warp_sum(along);
    for (int64_t i = lane; i < s.width4; i += 32) {      // a lane reads what it wrote itself
      const float4 v = fma4(-along, __ldg(across + i), s.out[i]);
      s.out[i] = v;
      square += dot4(v, v);
    }
  }
  square = warp_sum(square);
  if (lane == 0) *squares = square;
}

template <class Rows, int kFour>
__global__ void __launch_bounds__(kManyWarps * 32) many(const __grid_constant__ GradientStep g) {
  extern __shared__ float4 sums[];                       // [kManyWarps, kFour * 32]
  __shared__ float scratch[33];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const bool of_dec = blockIdx.y == 0;
  for (int n = blockIdx.x; n < g.longest[0]; n += gridDim.x) {
    const int64_t f = g.longest[1 + n];
    const int from = g.from[f], end = g.from[f + 1], slot = g.slot ? g.slot[f] : -1;
    float square = 0, along = 0;
    if (!of_dec) {
      float bias = 0;
      for (int p = from + threadIdx.x; p < end; p += blockDim.x) bias += g.grouped[p].at_code;
      bias = block_sum(bias, scratch);
      if (threadIdx.x == 0) {
        bias = finish_feature(g, f, from, end, slot, bias);
        square = bias * bias;
      }
    }
    const Side s = side_of(g, f, slot, of_dec);
    const float4* across = of_dec && g.across ? reinterpret_cast<const float4*>(g.across) + f * s.width4 : nullptr;
    for (int64_t slab = 0; slab < s.width4; slab += kFour * 32) {
      float4 sum[kFour];
#pragma unroll
      for (int j = 0; j < kFour; ++j) sum[j] = zero4();
      sum_entries<Rows, kFour>(g, s, slab, from + warp, end, kManyWarps, sum);
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kFour; ++j) sums[(warp * kFour + j) * 32 + lane] = sum[j];
      __syncthreads();
      for (int t = threadIdx.x; t < kFour * 32 && slab + t < s.width4; t += blockDim.x) {
        const int64_t i = slab + t;
        float4 v = s.extra ? __ldg(s.extra + i) : zero4();
        for (int w = 0; w < kManyWarps; ++w) v = add4(v, sums[w * kFour * 32 + t]);
        s.out[i] = v;
        if (across) along += dot4(v, __ldg(across + i));
        else square += dot4(v, v);
      }
    }
    if (across) {
      along = block_sum(along, scratch);
      // The same thread has the same places as above: t = i modulo a slab.
      for (int64_t slab = 0; slab < s.width4; slab += kFour * 32)
        for (int t = threadIdx.x; t < kFour * 32 && slab + t < s.width4; t += blockDim.x) {
          const float4 v = fma4(-along, __ldg(across + slab + t), s.out[slab + t]);
          s.out[slab + t] = v;
          square += dot4(v, v);
        }
    }
    square = block_sum(square, scratch);
    if (threadIdx.x == 0) g.squares[(of_dec ? 0 : g.features) + f] = square;
  }
}

template <class Rows, int kFour>
cudaError_t start(const GradientStep& g, cudaStream_t s) {
  if (cudaError_t e = cudaMemsetAsync(g.longest, 0, sizeof(int32_t), s)) return e;
  gradients<Rows, kFour><<<dim3(static_cast<unsigned>((g.features + kWarps - 1) / kWarps), 2), kWarps * 32, 0, s>>>(g);
  const int shared = kManyWarps * kFour * 32 * static_cast<int>(sizeof(float4));
  if (cudaError_t e = cudaFuncSetAttribute(many<Rows, kFour>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared)) return e;
  many<Rows, kFour><<<dim3(132, 2), kManyWarps * 32, shared, s>>>(g);
  return cudaGetLastError();
}

constexpr int kBiasThreads = 256;

// A part takes every kBiasParts-th row and feature.
template <class Rows>
__global__ void __launch_bounds__(kBiasThreads) bias_parts(const __grid_constant__ BiasStep b) {
  const int64_t width4 = b.width / 4;
  for (int64_t i = threadIdx.x; i < width4; i += kBiasThreads) {
    float4 sum = zero4();
#pragma unroll 4
    for (int64_t r = blockIdx.x; r < b.rows; r += kBiasParts) sum = add4(sum, __ldg(reinterpret_cast<const float4*>(b.at_out) + r * width4 + i));
    if (b.w_enc)
#pragma unroll 8
      for (int64_t f = blockIdx.x; f < b.features; f += kBiasParts) sum = fma4(-__ldg(b.of_enc_bias + f), Rows::wide(Rows::load(b.w_enc, f * width4 + i)), sum);
    reinterpret_cast<float4*>(b.parts)[blockIdx.x * width4 + i] = sum;
  }
}

// 32 columns a block, parts dealt to 32 warps.
__global__ void __launch_bounds__(1024) bias_sum(const __grid_constant__ BiasStep b) {
  __shared__ float sums[32][33];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  float sum = 0;
  if (i < b.width)
#pragma unroll 11
    for (int64_t p = warp; p < kBiasParts; p += 32) sum += b.parts[p * b.width + i];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || i >= b.width) return;
  sum = 0;
  for (int w = 0; w < 32; ++w) sum += sums[w][lane];
  b.out[i] = sum;
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_gradient_step_cuda(const microtome::kernels::GradientStep& g, int device, void* stream) {
  using namespace microtome::kernels;
  if (g.width_out % 4 != 0 || g.width_in % 4 != 0 || g.rows > 65535 || g.entries > 0x7fffffff || g.features > 0x7fffffff || g.levels > kMostLevels) return "not covered";
  for (const void* p : {g.at_out, g.x, static_cast<const void*>(g.extra_dec), static_cast<const void*>(g.extra_enc), static_cast<const void*>(g.across), static_cast<const void*>(g.of_dec),
                        static_cast<const void*>(g.of_enc), static_cast<const void*>(g.grouped)})
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return "not covered";
  if (g.features == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  cudaStream_t s = static_cast<cudaStream_t>(stream);
  const int64_t width = g.width_out > g.width_in ? g.width_out : g.width_in;
  cudaError_t e;
  if (width <= 256) e = g.bfloat16 ? start<BfloatRows, 2>(g, s) : start<FloatRows, 2>(g, s);
  else if (width <= 512) e = g.bfloat16 ? start<BfloatRows, 4>(g, s) : start<FloatRows, 4>(g, s);
  else e = g.bfloat16 ? start<BfloatRows, 6>(g, s) : start<FloatRows, 6>(g, s);
  return e ? cudaGetErrorString(e) : nullptr;
}

extern "C" const char* microtome_bias_step_cuda(const microtome::kernels::BiasStep& b, int device, void* stream) {
  using namespace microtome::kernels;
  if (b.width % 4 != 0) return "not covered";
  for (const void* p : {static_cast<const void*>(b.at_out), b.w_enc, static_cast<const void*>(b.parts)})
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return "not covered";
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  cudaStream_t s = static_cast<cudaStream_t>(stream);
  if (b.bfloat16) bias_parts<BfloatRows><<<kBiasParts, kBiasThreads, 0, s>>>(b);
  else bias_parts<FloatRows><<<kBiasParts, kBiasThreads, 0, s>>>(b);
  bias_sum<<<static_cast<unsigned>((b.width + 31) / 32), 1024, 0, s>>>(b);
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
