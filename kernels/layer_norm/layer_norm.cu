// A warp a row; the row comes from memory once and from the first-level cache after that.
#include <cuda_runtime.h>

#include "kernels/layer_norm/layer_norm.h"

namespace microtome::kernels {
namespace {

constexpr int kWarp = 32, kRows = 8;

__device__ __forceinline__ float over_warp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

__device__ __forceinline__ float4 get(const float* p, int64_t i) { return reinterpret_cast<const float4*>(p)[i]; }

__global__ void __launch_bounds__(kWarp * kRows) layer_norm_kernel(const LayerNorm n, const bool by_four) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.y;
  if (row >= n.rows) return;
  const int lane = static_cast<int>(threadIdx.x);
  const float* x = n.x + row * n.width;
  const int64_t fours = by_four ? n.width / 4 : 0;
  const float inverse = 1.f / static_cast<float>(n.width);
  float mean = 0;
  if (n.centred) {
    for (int64_t i = lane; i < fours; i += kWarp) {
      const float4 v = get(x, i);
      mean += (v.x + v.y) + (v.z + v.w);
    }
    for (int64_t i = 4 * fours + lane; i < n.width; i += kWarp) mean += x[i];
    mean = over_warp(mean) * inverse;
  }
  float square = 0;
  for (int64_t i = lane; i < fours; i += kWarp) {
    const float4 v = get(x, i);
    const float a = v.x - mean, b = v.y - mean, c = v.z - mean, d = v.w - mean;
    square += (a * a + b * b) + (c * c + d * d);
  }
  for (int64_t i = 4 * fours + lane; i < n.width; i += kWarp) square += (x[i] - mean) * (x[i] - mean);
  const float scale = sqrtf(over_warp(square) * inverse + static_cast<float>(n.eps)), by = 1.f / scale;
  if (n.scale && lane == 0) n.scale[row] = scale;
  float *hat = n.normalized ? n.normalized + row * n.width : nullptr, *y = n.y ? n.y + row * n.width : nullptr;
  for (int64_t i = lane; i < fours; i += kWarp) {
    float4 v = get(x, i);
    v = make_float4((v.x - mean) * by, (v.y - mean) * by, (v.z - mean) * by, (v.w - mean) * by);
    if (hat) reinterpret_cast<float4*>(hat)[i] = v;
    if (!y) continue;
    const float4 g = n.gain ? get(n.gain, i) : make_float4(1, 1, 1, 1), b = n.bias ? get(n.bias, i) : make_float4(0, 0, 0, 0);
    reinterpret_cast<float4*>(y)[i] = make_float4(v.x * g.x + b.x, v.y * g.y + b.y, v.z * g.z + b.z, v.w * g.w + b.w);
  }
  for (int64_t i = 4 * fours + lane; i < n.width; i += kWarp) {
    const float v = (x[i] - mean) * by;
    if (hat) hat[i] = v;
    if (y) y[i] = v * (n.gain ? n.gain[i] : 1.f) + (n.bias ? n.bias[i] : 0.f);
  }
}

bool by_sixteen(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_layer_norm_cuda(const microtome::kernels::LayerNorm& n, int device, void* stream) {
  using namespace microtome::kernels;
  if (n.rows == 0 || n.width == 0) return nullptr;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) {
    const bool by_four = n.width % 4 == 0 && by_sixteen(n.x) && by_sixteen(n.gain) && by_sixteen(n.bias) && by_sixteen(n.normalized) && by_sixteen(n.y);
    layer_norm_kernel<<<static_cast<unsigned>((n.rows + kRows - 1) / kRows), dim3(kWarp, kRows), 0, static_cast<cudaStream_t>(stream)>>>(n, by_four);
    e = cudaGetLastError();
  }
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}
