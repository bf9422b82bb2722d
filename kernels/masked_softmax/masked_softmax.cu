// A warp a row. What the query sees is one span of keys, so that products outside it are not even fetched; the span comes
// from memory once and from the caches after that.
#include <cuda_runtime.h>

#include "kernels/masked_softmax/masked_softmax.h"

namespace microtome::kernels {
namespace {

constexpr int kWarp = 32, kRows = 8;

__device__ __forceinline__ float largest(float x) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    const float y = __shfl_xor_sync(0xffffffffu, x, step);
    x = x != x || y != y ? nanf("") : fmaxf(x, y);
  }
  return x;
}

__device__ __forceinline__ float over_warp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

__global__ void __launch_bounds__(kWarp * kRows) masked_softmax_kernel(const MaskedSoftmax w) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.y;
  if (row >= w.rows) return;
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t own = w.past + row % w.count;
  const int64_t from = w.window > 0 ? max(int64_t{0}, own - w.window + 1) : 0;
  const int64_t to = w.causal ? min(w.keys, own + 1) : w.window > 0 ? min(w.keys, own + w.window) : w.keys;
  float *const x = w.x + row * w.keys, *const p = w.p + row * w.keys;
  const float scale = static_cast<float>(w.scale), cap = static_cast<float>(w.softcap);
  constexpr float kNothing = -INFINITY;
  float most = kNothing;
  for (int64_t j = from + lane; j < to; j += kWarp) {
    float s = x[j] * scale;
    if (cap > 0) s = cap * tanhf(s / cap);
    x[j] = s;
    most = s != s || most != most ? nanf("") : fmaxf(most, s);
  }
  most = largest(most);
  float sum = 0;
  for (int64_t j = from + lane; j < to; j += kWarp) sum += expf(x[j] - most);
  sum = over_warp(sum);
  const float by = 1.f / sum;
  for (int64_t j = from + lane; j < to; j += kWarp) p[j] = expf(x[j] - most) * by;
  const float outside = to > from && sum == sum ? 0.f : nanf("");   // a row that is not a number is so everywhere
  for (int64_t j = lane; j < w.keys; j += kWarp) {
    if (j >= from && j < to) continue;
    x[j] = kNothing;
    p[j] = outside;
  }
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_masked_softmax_cuda(const microtome::kernels::MaskedSoftmax& w, int device, void* stream) {
  using namespace microtome::kernels;
  if (w.rows == 0 || w.keys == 0) return nullptr;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) {
    masked_softmax_kernel<<<static_cast<unsigned>((w.rows + kRows - 1) / kRows), dim3(kWarp, kRows), 0, static_cast<cudaStream_t>(stream)>>>(w);
    e = cudaGetLastError();
  }
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}
