// See adam.h. A warp a row: everything is memory's speed.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "kernels/adam/adam.h"

namespace microtome::kernels {
namespace {

struct Numbers { float beta1, rest1, beta2, rest2, eps, rate, root2; };   // rate over the first correction; 1 over the second's root

Numbers numbers_of(const AdamSettings& s) {
  const double t = static_cast<double>(s.step);
  return {static_cast<float>(s.beta1), static_cast<float>(1 - s.beta1), static_cast<float>(s.beta2), static_cast<float>(1 - s.beta2), static_cast<float>(s.eps),
          static_cast<float>(s.rate / (1 - std::pow(s.beta1, t))), static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, t)))};
}

__device__ __forceinline__ void adam(const Numbers& n, float g, float& w, float& m, float& v) {
  m = fmaf(n.beta1, m, n.rest1 * g);
  v = fmaf(n.beta2, v, n.rest2 * g * g);
  w -= n.rate * m / fmaf(sqrtf(v), n.root2, n.eps);
}
__device__ __forceinline__ void adam(const Numbers& n, float4 g, float4& w, float4& m, float4& v) {
  adam(n, g.x, w.x, m.x, v.x);
  adam(n, g.y, w.y, m.y, v.y);
  adam(n, g.z, w.z, m.z, v.z);
  adam(n, g.w, w.w, m.w, v.w);
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
  return v;
}

__device__ __forceinline__ uint2 narrow(float4 v) {
  const __nv_bfloat162 a = __floats2bfloat162_rn(v.x, v.y), b = __floats2bfloat162_rn(v.z, v.w);
  return make_uint2(*reinterpret_cast<const uint32_t*>(&a), *reinterpret_cast<const uint32_t*>(&b));
}

// Written out, so that the norm of a row is the same number wherever it is made.
__device__ __forceinline__ float add_squares(float4 w, float sum) { return fmaf(w.w, w.w, fmaf(w.z, w.z, fmaf(w.y, w.y, fmaf(w.x, w.x, sum)))); }

constexpr int kWarps = 4;

template <bool kUpdate>
__global__ void __launch_bounds__(kWarps * 32) rows_of(const __grid_constant__ AdamRows a, Numbers n) {
  const AdamRows::Matrix& x = a.matrix[blockIdx.y];
  const int lane = threadIdx.x & 31;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (row >= a.rows) return;
  const int64_t width4 = x.width / 4;
  float4* value = reinterpret_cast<float4*>(x.value) + row * width4;
  float4* first = reinterpret_cast<float4*>(x.first) + row * width4;
  float4* second = reinterpret_cast<float4*>(x.second) + row * width4;
  const float4* gradient = reinterpret_cast<const float4*>(x.gradient) + row * width4;
  uint2* copy = x.copy ? reinterpret_cast<uint2*>(x.copy) + row * width4 : nullptr;
  const bool there = kUpdate && (!a.touched || a.touched[row] != 0);
  const float scale = kUpdate && a.scale ? *a.scale : 1.0f;
  float square = 0;
  // What a lane writes it alone reads again.
#pragma unroll 3
  for (int64_t i = lane; i < width4; i += 32) {
    float4 w = value[i];
    if (kUpdate) {
      float4 m = __ldcs(first + i), v = __ldcs(second + i), g = there ? __ldcs(gradient + i) : make_float4(0, 0, 0, 0);
      g = make_float4(g.x * scale, g.y * scale, g.z * scale, g.w * scale);
      adam(n, g, w, m, v);
      __stcs(first + i, m);
      __stcs(second + i, v);
      value[i] = w;
    }
    square = add_squares(w, square);
    if (copy && !(kUpdate && x.unit)) copy[i] = narrow(w);
  }
  if (x.norms || (kUpdate && x.unit)) square = warp_sum(square);
  if (kUpdate && x.unit) {
    const float by = fmaxf(sqrtf(square), 1e-12f);
    square = 0;
    for (int64_t i = lane; i < width4; i += 32) {
      float4 w = value[i];
      w = make_float4(w.x / by, w.y / by, w.z / by, w.w / by);
      value[i] = w;
      square = add_squares(w, square);
      if (copy) copy[i] = narrow(w);
    }
    square = warp_sum(square);
  }
  if (x.norms && lane == 0) x.norms[row] = sqrtf(square);
}

__global__ void __launch_bounds__(256) arrays_of(const __grid_constant__ AdamArrays a, Numbers n) {
  const AdamArrays::Array& x = a.array[blockIdx.y];
  const float scale = a.scale ? *a.scale : 1.0f;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < x.size; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    float w = x.value[i], m = x.first[i], v = x.second[i];
    adam(n, x.gradient[i] * scale, w, m, v);
    x.value[i] = w;
    x.first[i] = m;
    x.second[i] = v;
  }
}

constexpr int kNormThreads = 512;

__device__ double block_sum(double v) {
  __shared__ double scratch[kNormThreads / 32];
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  double all = 0;
  for (int w = 0; w < kNormThreads / 32; ++w) all += scratch[w];
  return all;
}

__global__ void __launch_bounds__(kNormThreads) norm_parts(const __grid_constant__ GradientNorm n) {
  double sum = 0;
  const int64_t start = static_cast<int64_t>(blockIdx.x) * kNormThreads + threadIdx.x, step = GradientNorm::kParts * kNormThreads;
  for (int k = 0; k < n.arrays; ++k) {
    const float* p = n.numbers[k];
    const int64_t size = n.sizes[k], fours = reinterpret_cast<uintptr_t>(p) % 16 == 0 ? size / 4 : 0;
    float own = 0;
#pragma unroll 4
    for (int64_t i = start; i < fours; i += step) {
      const float4 v = __ldg(reinterpret_cast<const float4*>(p) + i);
      own += n.squares[k] ? (v.x + v.y) + (v.z + v.w) : (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    }
    for (int64_t i = 4 * fours + start; i < size; i += step) own += n.squares[k] ? p[i] : p[i] * p[i];
    sum += own;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) n.parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kNormThreads) norm_sum(const __grid_constant__ GradientNorm n) {
  const double sum = block_sum(threadIdx.x < GradientNorm::kParts ? n.parts[threadIdx.x] : 0.0);
  if (threadIdx.x != 0) return;
  const float norm = static_cast<float>(sqrt(sum));
  n.out[0] = norm;
  // As clamp_max: NaN stays.
  const float scale = static_cast<float>(n.clip) / (norm + 1e-6f);
  n.out[1] = n.clip > 0 && !(scale > 1.0f) ? scale : 1.0f;
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_gradient_norm_cuda(const microtome::kernels::GradientNorm& n, int device, void* stream) {
  using namespace microtome::kernels;
  static_assert(GradientNorm::kParts <= kNormThreads, "one block sums the parts");
  if (n.arrays > GradientNorm::kMost) return "not covered";
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  cudaStream_t s = static_cast<cudaStream_t>(stream);
  norm_parts<<<static_cast<unsigned>(GradientNorm::kParts), kNormThreads, 0, s>>>(n);
  norm_sum<<<1, kNormThreads, 0, s>>>(n);
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}

extern "C" const char* microtome_adam_rows_cuda(const microtome::kernels::AdamRows& a, int device, void* stream) {
  using namespace microtome::kernels;
  if (a.matrices > AdamRows::kMost) return "not covered";
  for (int i = 0; i < a.matrices; ++i) {
    const AdamRows::Matrix& x = a.matrix[i];
    if (x.width % 4 != 0 || !aligned(x.value) || !aligned(x.first) || !aligned(x.second) || !aligned(x.gradient) || !aligned(x.copy)) return "not covered";
  }
  if (a.rows == 0 || a.matrices == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  const dim3 grid(static_cast<unsigned>((a.rows + kWarps - 1) / kWarps), static_cast<unsigned>(a.matrices));
  if (a.update) rows_of<true><<<grid, kWarps * 32, 0, static_cast<cudaStream_t>(stream)>>>(a, numbers_of(a.settings));
  else rows_of<false><<<grid, kWarps * 32, 0, static_cast<cudaStream_t>(stream)>>>(a, numbers_of(a.settings));
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}

extern "C" const char* microtome_adam_arrays_cuda(const microtome::kernels::AdamArrays& a, int device, void* stream) {
  using namespace microtome::kernels;
  if (a.arrays > AdamArrays::kMost) return "not covered";
  if (a.arrays == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  int64_t most = 1;
  for (int i = 0; i < a.arrays; ++i) most = a.array[i].size > most ? a.array[i].size : most;
  const int64_t blocks = (most + 255) / 256;
  arrays_of<<<dim3(static_cast<unsigned>(blocks < 4096 ? blocks : 4096), static_cast<unsigned>(a.arrays)), 256, 0, static_cast<cudaStream_t>(stream)>>>(a, numbers_of(a.settings));
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
