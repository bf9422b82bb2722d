// A counting sort that keeps the order of rows. Entries are cut into parts. `count`: how many each part has of each feature; `offsets`:
// where the part's entries of a feature begin among the feature's; `place`: entries of a part go there, in order, by one warp.
#include <cuda_runtime.h>

#include "kernels/sparse_step/sparse_step.h"

namespace microtome::kernels {
namespace {

constexpr int kRange = 16384;                            // features that a block counts: 32 KB of shared memory
constexpr int kThreads = 512;
constexpr int kSpan = 256;                               // features a block of `offsets`
constexpr int kMostSpans = 4096;                         // 1,048,576 features

__global__ void __launch_bounds__(kThreads) count(const __grid_constant__ GroupStep g, int64_t part) {
  __shared__ __align__(16) uint32_t pair[kRange / 2];    // two counts a word: the carry cannot reach the upper one, as counts are at most 65,535
  const int64_t low = static_cast<int64_t>(blockIdx.y) * kRange, begin = blockIdx.x * part;
  const int64_t end = begin + part < g.codes.entries ? begin + part : g.codes.entries;
  for (int i = threadIdx.x; i < kRange / 2; i += kThreads) pair[i] = 0;
  __syncthreads();
  for (int64_t e = begin + threadIdx.x; e < end; e += kThreads) {
    const int64_t f = g.codes.column[e] - low;
    if (f >= 0 && f < kRange) atomicAdd(&pair[f >> 1], f & 1 ? 0x10000u : 1u);
  }
  __syncthreads();
  uint16_t* out = g.counts + blockIdx.x * g.codes.features + low;
  const int64_t here = g.codes.features - low < kRange ? g.codes.features - low : kRange;
  if (g.codes.features % 8 == 0)
    for (int64_t i = threadIdx.x; i < here / 8; i += kThreads) reinterpret_cast<uint4*>(out)[i] = reinterpret_cast<const uint4*>(pair)[i];
  else
    for (int64_t i = threadIdx.x; i < here; i += kThreads) out[i] = static_cast<uint16_t>(pair[i >> 1] >> (i & 1 ? 16 : 0));
}

// counts become offsets within the feature; local: where a feature begins among the block's; blocks: the block's sum.
__global__ void __launch_bounds__(kSpan) offsets(const __grid_constant__ GroupStep g, int64_t parts) {
  __shared__ int sums[kSpan / 32];
  const int64_t f = static_cast<int64_t>(blockIdx.x) * kSpan + threadIdx.x;
  int sum = 0;
  if (f < g.codes.features) {
    uint16_t* at = g.counts + f;
    constexpr int kAhead = 16;
    for (int64_t p = 0; p < parts; p += kAhead) {
      int n[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) n[i] = p + i < parts ? at[(p + i) * g.codes.features] : 0;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (p + i < parts) at[(p + i) * g.codes.features] = static_cast<uint16_t>(sum);
        sum += n[i];
      }
    }
  }
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int before = sum;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const int other = __shfl_up_sync(0xffffffffu, before, step);
    if (lane >= step) before += other;
  }
  if (lane == 31) sums[warp] = before;
  before -= sum;
  __syncthreads();
  int all = 0;
#pragma unroll
  for (int w = 0; w < kSpan / 32; ++w) {
    if (w < warp) before += sums[w];
    all += sums[w];
  }
  if (f < g.codes.features) g.local[f] = before;
  if (threadIdx.x == 0) g.blocks[blockIdx.x] = all;
}

constexpr int kStage = 1024;

__global__ void __launch_bounds__(kThreads) place(const __grid_constant__ GroupStep g, int64_t part) {
  __shared__ __align__(16) uint16_t next[kRange];
  extern __shared__ int base[];                          // [spans + 1]: where the block of features begins
  __shared__ int feature[kStage], at[kStage];
  const ChosenCodes& c = g.codes;
  const int64_t low = static_cast<int64_t>(blockIdx.y) * kRange, begin = blockIdx.x * part, end = begin + part < c.entries ? begin + part : c.entries;
  const int64_t here = c.features - low < kRange ? c.features - low : kRange;
  const int spans = static_cast<int>((c.features + kSpan - 1) / kSpan);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const uint16_t* own = g.counts + blockIdx.x * c.features + low;
  if (c.features % 8 == 0)
    for (int64_t i = threadIdx.x; i < here / 8; i += kThreads) reinterpret_cast<uint4*>(next)[i] = __ldg(reinterpret_cast<const uint4*>(own) + i);
  else
    for (int64_t i = threadIdx.x; i < here; i += kThreads) next[i] = own[i];
  if (warp == 0) {
    int sum = 0;
    for (int i = 0; i < spans; i += 32) {
      const int mine = i + lane < spans ? g.blocks[i + lane] : 0;
      int before = mine;
#pragma unroll
      for (int step = 1; step < 32; step <<= 1) {
        const int other = __shfl_up_sync(0xffffffffu, before, step);
        if (lane >= step) before += other;
      }
      if (i + lane < spans) base[i + lane] = sum + before - mine;
      sum += __shfl_sync(0xffffffffu, before, 31);
    }
    if (lane == 0) base[spans] = sum;
  }
  __syncthreads();
  if (blockIdx.x == 0) {
    for (int64_t i = threadIdx.x; i < here; i += kThreads) g.from[low + i] = base[(low + i) / kSpan] + g.local[low + i];
    if (blockIdx.y == 0 && threadIdx.x == 0) g.from[c.features] = base[spans];
  }
  for (int64_t from = begin; from < end; from += kStage) {
    const int n = static_cast<int>(end - from < kStage ? end - from : kStage);
    for (int i = threadIdx.x; i < kStage; i += kThreads) {
      const int64_t f = i < n ? c.column[from + i] - low : -1;
      feature[i] = f >= 0 && f < kRange ? static_cast<int>(f) : -1;
    }
    __syncthreads();
    if (warp == 0)
      for (int i = 0; i < n; i += 32) {
        const int f = feature[i + lane];
        // Lanes of one feature, in the order of their rows.
        const uint32_t same = __match_any_sync(0xffffffffu, f >= 0 ? f : -1 - lane);
        const int rank = __popc(same & ((1u << lane) - 1));
        const int first = f >= 0 ? next[f] : 0;
        __syncwarp();
        if (f >= 0 && rank == 0) next[f] = static_cast<uint16_t>(first + __popc(same));
        at[i + lane] = first + rank;
        __syncwarp();
      }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kThreads) {
      if (feature[i] < 0) continue;
      const int64_t f = low + feature[i], e = from + i;
      GroupedEntry one;
      one.row = c.per_row ? static_cast<int32_t>(e / c.per_row) : c.row[e];
      one.code = c.norms ? c.value[e] / fmaxf(c.norms[f], 1e-12f) : c.value[e];
      one.at_code = g.at_code[e];
      one.unused = 0;
      reinterpret_cast<int4*>(g.grouped)[base[f / kSpan] + g.local[f] + at[i]] = *reinterpret_cast<const int4*>(&one);
    }
    __syncthreads();
  }
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_group_step_cuda(const microtome::kernels::GroupStep& g, int device, void* stream) {
  using namespace microtome::kernels;
  const ChosenCodes& c = g.codes;
  if (c.rows > 65535 || c.entries > 0x7fffffff || c.features > static_cast<int64_t>(kMostSpans) * kSpan || reinterpret_cast<uintptr_t>(g.grouped) % 16 != 0 || reinterpret_cast<uintptr_t>(g.counts) % 16 != 0) return "not covered";
  if (c.features == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  const int64_t part = group_part(c.entries), parts = group_parts(c.entries), spans = (c.features + kSpan - 1) / kSpan;
  cudaStream_t s = static_cast<cudaStream_t>(stream);
  const dim3 grid(static_cast<unsigned>(parts > 0 ? parts : 1), static_cast<unsigned>((c.features + kRange - 1) / kRange));
  count<<<grid, kThreads, 0, s>>>(g, part);
  offsets<<<static_cast<unsigned>(spans), kSpan, 0, s>>>(g, grid.x);
  const size_t shared = static_cast<size_t>(spans + 1) * sizeof(int);
  if (cudaError_t e = cudaFuncSetAttribute(place, cudaFuncAttributeMaxDynamicSharedMemorySize, (kMostSpans + 1) * static_cast<int>(sizeof(int)))) return cudaGetErrorString(e);
  place<<<grid, kThreads, shared, s>>>(g, part);
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
