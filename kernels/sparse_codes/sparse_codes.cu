// One block a row (decode, dot) or a column (scatter); the threads of a block go along the width. See sparse_codes.h.
#include "kernels/sparse_codes/sparse_codes.h"

#include <cuda_runtime.h>

namespace microtome::kernels {
namespace {

__device__ inline float4 fma4(float v, float4 x, float4 y) {
  return make_float4(fmaf(v, x.x, y.x), fmaf(v, x.y, y.y), fmaf(v, x.z, y.z), fmaf(v, x.w, y.w));
}

__global__ void decode(SparseCodesView c, const float4* __restrict__ w, int64_t width4, float4* __restrict__ out) {
  const int64_t r = blockIdx.x, begin = c.row_from[r], end = c.row_from[r + 1];
  for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) {
    float4 sum = out[r * width4 + i];
    for (int64_t e = begin; e < end; ++e) sum = fma4(c.value[e], w[c.column[e] * width4 + i], sum);
    out[r * width4 + i] = sum;
  }
}

// A warp an entry of the block's row.
__global__ void dot(SparseCodesView c, const float4* __restrict__ a, const float4* __restrict__ w, int64_t width4, float* __restrict__ out) {
  extern __shared__ float4 row[];
  const int64_t r = blockIdx.x, begin = c.row_from[r], end = c.row_from[r + 1];
  for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) row[i] = a[r * width4 + i];
  __syncthreads();
  const int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
  for (int64_t e = begin + (threadIdx.x >> 5); e < end; e += warps) {
    const float4* __restrict__ y = w + c.column[e] * width4;
    float sum = 0;
    for (int64_t i = lane; i < width4; i += 32) {
      const float4 p = row[i], q = y[i];
      sum += p.x * q.x + p.y * q.y + p.z * q.z + p.w * q.w;
    }
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0) out[e] = sum;
  }
}

__global__ void scatter(SparseCodesView c, const float4* __restrict__ a, const float* __restrict__ scale, int64_t width4, float4* __restrict__ out) {
  const int64_t column = blockIdx.x, begin = c.column_from[column], end = c.column_from[column + 1];
  if (begin == end) return;
  for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) {
    float4 sum = out[column * width4 + i];
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = c.order[p];
      sum = fma4(scale[e], a[c.row[e] * width4 + i], sum);
    }
    out[column * width4 + i] = sum;
  }
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_sparse_codes_cuda(int what, const microtome::kernels::SparseCodesView& c, const float* x, const float* y,
                                                   int64_t width, float* out, int device, void* stream) {
  using namespace microtome::kernels;
  auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  if (width % 4 != 0 || width > 16384 || c.rows > 0x7fffffff || c.columns > 0x7fffffff) return "not covered";
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  cudaStream_t s = static_cast<cudaStream_t>(stream);
  const int64_t width4 = width / 4;
  const int threads = static_cast<int>(width4 >= 256 ? 256 : width4 <= 32 ? 32 : (width4 + 31) / 32 * 32);
  if (c.rows == 0 || c.columns == 0 || c.entries == 0) return nullptr;
  if (what == 0) {
    if (!aligned(y) || !aligned(out)) return "not covered";
    decode<<<static_cast<unsigned>(c.rows), threads, 0, s>>>(c, reinterpret_cast<const float4*>(y), width4, reinterpret_cast<float4*>(out));
  } else if (what == 1) {
    if (!aligned(x) || !aligned(y)) return "not covered";
    const size_t shared = static_cast<size_t>(width) * sizeof(float);
    if (shared > 48 * 1024)
      if (cudaError_t e = cudaFuncSetAttribute(dot, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared))) return cudaGetErrorString(e);
    dot<<<static_cast<unsigned>(c.rows), 256, shared, s>>>(c, reinterpret_cast<const float4*>(x), reinterpret_cast<const float4*>(y), width4, out);
  } else {
    if (!aligned(x) || !aligned(out)) return "not covered";
    scatter<<<static_cast<unsigned>(c.columns), threads, 0, s>>>(c, reinterpret_cast<const float4*>(x), y, width4, reinterpret_cast<float4*>(out));
  }
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
