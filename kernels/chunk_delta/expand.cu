// The states of tokens inside chunks: from the state before a chunk and what its tokens write, S_t = exp(g_t) ∘ S_{t-1} + k_t w_t^T
// in float32, a block a chunk and 64 columns of one or more heads; and the norms from their parts.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/chunk_delta/steps.h"

namespace microtome::kernels::delta {
namespace {

constexpr int kThreads = 256, kTokens = 64, kColumns = 64;

// kWide: columns in fours. A thread has `kRows` rows of its columns.
template <class E, int kRows, bool kWide>
__global__ void __launch_bounds__(kThreads) expand_kernel(const Segment s, const int heads_each) {
  extern __shared__ __align__(16) float shared[];
  __shared__ int64_t slots[kTokens];
  constexpr int kEach = kWide ? 4 : 1, kAcross = kColumns / kEach, kDown = kThreads / kAcross;
  const Chunk& in = s.in;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v), thread = threadIdx.x;
  const int64_t H = in.heads, c = blockIdx.x;
  const int64_t tokens = min(s.chunks * kTokens, in.positions - s.first * kTokens);
  const int64_t token = (s.first + c) * kTokens;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - token));
  bool wanted = false;
  if (thread < rows) {
    slots[thread] = in.slots[token + thread];
    wanted = thread < rows - 1 && slots[thread] >= 0;
  }
  if (!__syncthreads_or(wanted)) return;
  const int first = static_cast<int>(blockIdx.z) * kColumns, width = min(kColumns, V - first);
  float *const ks = shared, *const ws = ks + kTokens * K, *const gs = ws + kTokens * kColumns;
  const int gates = static_cast<int>(in.g ? in.g_width : 0), column = thread % kAcross * kEach, down = thread / kAcross;
  const int64_t last = min(static_cast<int64_t>(blockIdx.y + 1) * heads_each, in.batch * H);
  for (int64_t bh = static_cast<int64_t>(blockIdx.y) * heads_each; bh < last; ++bh) {
    const int64_t b = bh / H, h = bh % H, row = (b * in.positions + token) * H + h;
    __syncthreads();
    for (int i = thread; i < rows * K; i += kThreads) ks[i] = static_cast<float>(static_cast<const E*>(in.k)[(row + i / K * H) * K + i % K]);
    for (int i = thread; i < rows * gates; i += kThreads) {
      const float g = in.g[(row + i / gates * H) * gates + i % gates];
      gs[i] = expf(g < -1e4f ? -1e4f : g);   // NaN passes
    }
    const float* const values = in.written ? in.written + row * V : s.values + ((b * tokens + c * kTokens) * H + h) * V;
    for (int i = thread; i < rows * width; i += kThreads) ws[i / width * kColumns + i % width] = values[i / width * H * V + first + i % width];
    __syncthreads();
    if (column >= width) continue;
    const float* const start = s.starts + (bh * s.chunks + c) * K * V + first + column;
    float S[kRows][kEach];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int e = 0; e < kEach; ++e) S[r][e] = r * kDown + down < K ? start[static_cast<int64_t>(r * kDown + down) * V + e] : 0.f;
    for (int t = 0; t < rows; ++t) {
      const int64_t slot = slots[t];
      float* const to = in.kept + ((b * in.kept_count + slot) * H + h) * K * V + first + column;
      float w[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) w[e] = ws[t * kColumns + column + e];
      const float whole = gates == 1 ? gs[t] : 1.f;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int i = r * kDown + down;
        if (i >= K) continue;
        const float decay = gates > 1 ? gs[t * gates + i] : whole, key = ks[t * K + i];
#pragma unroll
        for (int e = 0; e < kEach; ++e) S[r][e] = decay * S[r][e] + key * w[e];
        if (slot < 0) continue;
        if constexpr (kWide) __stcs(reinterpret_cast<float4*>(to + static_cast<int64_t>(i) * V), make_float4(S[r][0], S[r][1], S[r][2], S[r][3]));
        else __stcs(to + static_cast<int64_t>(i) * V, S[r][0]);
      }
    }
  }
}

template <class E, int kRows, bool kWide>
const char* expand_case(const Segment& s, cudaStream_t stream) {
  const size_t bytes = static_cast<size_t>(kTokens) * (s.in.d_k + kColumns + (s.in.g ? s.in.g_width : 0)) * sizeof(float);
  const cudaError_t e = cudaFuncSetAttribute(expand_kernel<E, kRows, kWide>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  // Most chunks may have nothing to do: about as many blocks as are resident at once, each with several heads.
  const int64_t heads = s.in.batch * s.in.heads, columns = (s.in.d_v + kColumns - 1) / kColumns;
  int64_t each = s.chunks * heads * columns / 1024;
  each = each < 1 ? 1 : each > heads ? heads : each;
  const dim3 grid(static_cast<unsigned>(s.chunks), static_cast<unsigned>((heads + each - 1) / each), static_cast<unsigned>(columns));
  expand_kernel<E, kRows, kWide><<<grid, kThreads, bytes, stream>>>(s, static_cast<int>(each));
  return sentence(cudaGetLastError());
}

template <class E>
const char* expand_of(const Segment& s, cudaStream_t stream) {
  const bool wide = s.in.d_v % 4 == 0 && (reinterpret_cast<uintptr_t>(s.in.kept) & 15) == 0;
  if (s.in.d_k <= 64) return wide ? expand_case<E, 4, true>(s, stream) : expand_case<E, 16, false>(s, stream);
  return wide ? expand_case<E, 16, true>(s, stream) : expand_case<E, 64, false>(s, stream);
}

__device__ float key_square(const __nv_bfloat16 x) { return __bfloat162float(x) * __bfloat162float(x); }
__device__ float key_square(const __half x) { return __half2float(x) * __half2float(x); }
__device__ float key_square(const float x) { return x * x; }

// A warp a token of a head: norms from sums of squares, in the order of the parts.
template <class E>
__global__ void norms_kernel(const Segment s) {
  const Chunk& in = s.in;
  const int64_t tokens = min(s.chunks * kTokens, in.positions - s.first * kTokens), H = in.heads, G = in.group;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32, each = in.batch * tokens * H;
  if (index >= each) return;
  const int lane = threadIdx.x % 32;
  const int64_t b = index / (tokens * H), rest = index - b * tokens * H, to = (b * in.positions + s.first * kTokens) * H + rest;
  if (in.write_norm) {
    float sum = 0.f;
    for (int i = lane; i < in.d_k; i += 32) sum += key_square(static_cast<const E*>(in.k)[to * in.d_k + i]);
    for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    float w = 0.f;
    for (int64_t p = 0; p < s.parts; ++p) w += s.write_parts[p * each + index];
    if (lane == 0) in.write_norm[to] = sqrtf(sum) * sqrtf(w);
  }
  if (in.read_norm)
    for (int64_t m = lane; m < G; m += 32) {
      float z = 0.f;
      for (int64_t p = 0; p < s.parts; ++p) z += s.read_parts[(p * each + index) * G + m];
      in.read_norm[to * G + m] = sqrtf(z);
    }
}

template <class E>
const char* norms(const Segment& s, cudaStream_t stream) {
  const int64_t tokens = s.in.positions - s.first * kTokens < s.chunks * kTokens ? s.in.positions - s.first * kTokens : s.chunks * kTokens;
  const int64_t each = s.in.batch * tokens * s.in.heads;
  norms_kernel<E><<<static_cast<unsigned>((each + 7) / 8), 256, 0, stream>>>(s);
  return sentence(cudaGetLastError());
}

template <class E>
const char* both(const Segment& s, cudaStream_t stream) {
  if (s.in.kept)
    if (const char* error = expand_of<E>(s, stream)) return error;
  return s.in.write_norm || s.in.read_norm ? norms<E>(s, stream) : nullptr;
}

}  // namespace

const char* expand(const Segment& s, cudaStream_t stream) {
  if (s.in.element == Element::kFloat32) return both<float>(s, stream);
  return s.in.element == Element::kBFloat16 ? both<__nv_bfloat16>(s, stream) : both<__half>(s, stream);
}

}  // namespace microtome::kernels::delta
