// A block takes kRows rows at a time. Every thread finds the largest of its columns of each row: the k-th largest of these is no more
// than the k-th largest of all, and little less, so that few candidates are at or above it. They are ranked by comparing each
// with each. Rows with more candidates than there is room (many equal numbers, or k beyond the number of threads) are done by
// bisecting the bits of the k-th largest.
#include <cuda_runtime.h>

#include "kernels/top_choice/load.cuh"
#include "kernels/top_choice/top_choice.h"

namespace microtome::kernels {
namespace {

constexpr int kRows = 4;
constexpr int kRoom = 1024;                              // candidates of a row
constexpr int kBits = 20;                                // of the bound that are found: bits 30 … 11; lower ones 0

// Any row, any k, in column order.
template <class T>
__device__ void slow_row(const TopRows& t, int64_t r, int* scratch) {
  const T* row = static_cast<const T*>(t.pre) + r * t.columns;
  const int64_t k = t.k < t.columns ? t.k : t.columns;
  int least = 0;                                         // the largest key that at least k entries reach; 0: fewer are above 0
  for (int bit = 30; bit >= 0; --bit) {
    const int tried = least | (1 << bit);
    int mine = 0;
    for (int64_t c = threadIdx.x; c < t.columns; c += kThreads) mine += key_at(t, row, c) >= tried;
    if (block_sum(mine, scratch) >= k) least = tried;
  }
  // A thread takes neighbours, so that columns ascend with threads.
  const int64_t piece = (t.columns + kThreads - 1) / kThreads, from = threadIdx.x * piece, to = from + piece < t.columns ? from + piece : t.columns;
  int above = 0, equal = 0;
  for (int64_t c = from; c < to; ++c) {
    const int key = key_at(t, row, c);
    above += key > least;
    equal += key == least && key > 0;
  }
  const int above_before = block_before(above, scratch), equal_before = block_before(equal, scratch);
  const int64_t all_above = block_sum(above, scratch), all_equal = block_sum(equal, scratch), room = k - all_above;
  int64_t a = above_before, e = equal_before;
  for (int64_t c = from; c < to; ++c) {
    const int key = key_at(t, row, c);
    int64_t place = -1;
    if (key > least) place = a++ + (e < room ? e : room);
    else if (key == least && key > 0) {
      if (e < room) place = a + e;
      ++e;
    }
    if (place >= 0) {
      t.column[r * t.k + place] = static_cast<int32_t>(c);
      t.value[r * t.k + place] = __int_as_float(key);
    }
  }
  for (int64_t place = all_above + (all_equal < room ? all_equal : room) + threadIdx.x; place < t.k; place += kThreads) {
    t.column[r * t.k + place] = -1;
    t.value[r * t.k + place] = 0;
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kThreads) top_rows(const __grid_constant__ TopRows t) {
  __shared__ float largest[kRows][kThreads];
  __shared__ int2 candidate[kRows][kRoom];
  __shared__ int found[kRows], bound[kRows], scratch[kWarps + 1], hits;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const int here = static_cast<int>(t.rows - first < kRows ? t.rows - first : kRows);
  const T* pre = static_cast<const T*>(t.pre) + first * t.columns;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (threadIdx.x < kRows) found[threadIdx.x] = 0;
  if (threadIdx.x == 0) hits = 0;

  float most[kRows];
  largest_of_threads<T, kRows, kThreads>(t, pre, here, most);
#pragma unroll
  for (int r = 0; r < kRows; ++r) largest[r][threadIdx.x] = most[r];
  __syncthreads();
  if (warp < here) {
    int keys[kWarps];
#pragma unroll
    for (int i = 0; i < kWarps; ++i) keys[i] = key_of(largest[warp][i * 32 + lane]);
    int least = 0;
    for (int bit = 30; bit > 30 - kBits; --bit) {
      const int tried = least | (1 << bit);
      int mine = 0;
#pragma unroll
      for (int i = 0; i < kWarps; ++i) mine += keys[i] >= tried;
      if (__reduce_add_sync(0xffffffffu, mine) >= t.k) least = tried;
    }
    if (lane == 0) bound[warp] = least > 0 ? least : 1;   // what is not above 0 is no candidate
  }
  __syncthreads();
  // Threads with a candidate, as (row, thread); each's columns are then looked at by eight lanes together. `largest` is done with.
  int* item = reinterpret_cast<int*>(largest);
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    if (r < here && key_of(most[r]) >= bound[r]) item[atomicAdd(&hits, 1)] = r * kThreads + static_cast<int>(threadIdx.x);
  __syncthreads();
  for (int n = threadIdx.x / 8; n < hits; n += kThreads / 8) {
    const int r = item[n] / kThreads, least = bound[r];
    for (int64_t c = (item[n] % kThreads + static_cast<int64_t>(threadIdx.x % 8) * kThreads) * 8; c < t.columns; c += 8 * kThreads * 8) {
      int keys[8];
      keys_of_eight(t, pre + r * t.columns, c, keys);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (keys[i] >= least) {
          const int place = atomicAdd(&found[r], 1);
          if (place < kRoom) candidate[r][place] = make_int2(keys[i], static_cast<int>(c + i));
        }
    }
  }
  __syncthreads();
  // kWarps / kRows warps a row.
  constexpr int kTeam = kThreads / kRows;
  const int r = threadIdx.x / kTeam, me = threadIdx.x % kTeam;
  if (r < here && found[r] <= kRoom) {
    const int n = found[r];
    const int64_t out = (first + r) * t.k;
    for (int i = me; i < n; i += kTeam) {
      const int2 mine = candidate[r][i];
      int rank = 0;
#pragma unroll 4
      for (int j = 0; j < n; ++j) {
        const int2 other = candidate[r][j];
        rank += other.x > mine.x || (other.x == mine.x && other.y < mine.y);
      }
      if (rank < t.k) {
        t.column[out + rank] = mine.y;
        t.value[out + rank] = __int_as_float(mine.x);
      }
    }
    for (int64_t i = n + me; i < t.k; i += kTeam) {
      t.column[out + i] = -1;
      t.value[out + i] = 0;
    }
  }
  for (int q = 0; q < here; ++q)
    if (found[q] > kRoom) slow_row<T>(t, first + q, scratch);
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_top_rows_cuda(const microtome::kernels::TopRows& t, int device, void* stream) {
  using namespace microtome::kernels;
  if (t.columns % 8 != 0 || t.columns > 0x7fffffff - 8 || t.k < 1) return "not covered";
  for (const void* p : {t.pre, static_cast<const void*>(t.bias), static_cast<const void*>(t.scale)})
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return "not covered";
  if (t.rows == 0 || t.columns == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  const unsigned blocks = static_cast<unsigned>((t.rows + kRows - 1) / kRows);
  if (t.bfloat16) top_rows<__nv_bfloat16><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(t);
  else top_rows<float><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(t);
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
