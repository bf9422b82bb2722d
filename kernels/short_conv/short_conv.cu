// A thread has one channel of a few tokens in a row: what it reads for one token is in the cache for the next.
#include <cuda_runtime.h>

#include "kernels/short_conv/short_conv.h"

namespace microtome::kernels {
namespace {

constexpr int kThreads = 128, kTokens = 8;

// The input of channel c at a token, which may lie before this run.
__device__ __forceinline__ float input(const ShortConv& s, int64_t b, int64_t t, int64_t c) {
  if (t >= 0) return s.x[(b * s.positions + t) * s.channels + c];
  return s.before ? s.before[(b * (s.width - 1) + t + s.width - 1) * s.channels + c] : 0.f;
}

__global__ void __launch_bounds__(kThreads) short_conv_kernel(const ShortConv s) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, b = blockIdx.z, first = static_cast<int64_t>(blockIdx.y) * kTokens;
  if (c >= s.channels) return;
  const int width = static_cast<int>(s.width);
  float weight[kShortConvMostWidth];
#pragma unroll
  for (int i = 0; i < kShortConvMostWidth; ++i) weight[i] = i < width ? s.weight[c * width + i] : 0.f;
  const float bias = s.bias ? s.bias[c] : 0.f;
  const int64_t end = min(first + kTokens, s.positions);
  for (int64_t t = first; t < end; ++t) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kShortConvMostWidth; ++i)
      if (i < width) sum += weight[i] * input(s, b, t - width + 1 + i, c);
    sum += bias;
    s.y[(b * s.positions + t) * s.channels + c] = s.silu ? sum / (1.f + expf(-sum)) : sum;
  }
  if (s.after && end == s.positions)
    for (int i = 0; i < width - 1; ++i) s.after[(b * (width - 1) + i) * s.channels + c] = input(s, b, s.positions - width + 1 + i, c);
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_short_conv_cuda(const microtome::kernels::ShortConv& s, int device, void* stream) {
  using namespace microtome::kernels;
  if (s.batch == 0 || s.positions == 0 || s.channels == 0) return nullptr;
  if (s.width < 1 || s.width > kShortConvMostWidth || s.batch > 65535 || (s.positions + kTokens - 1) / kTokens > 65535) return "a shape that it does not cover";
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) {
    const dim3 grid(static_cast<unsigned>((s.channels + kThreads - 1) / kThreads), static_cast<unsigned>((s.positions + kTokens - 1) / kTokens), static_cast<unsigned>(s.batch));
    short_conv_kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(s);
    e = cudaGetLastError();
  }
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}
