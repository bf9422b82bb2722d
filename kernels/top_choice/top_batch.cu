// The threshold of a whole batch, found by counting. A bound first: the largest of every thread's columns are counted by their upper 12
// bits; the bin in which the wanted number is reached lies no higher than the threshold's. What is above the bound is gathered row by
// row and counted by its upper 12, next 12 and last 7 bits, which gives the threshold exactly. A row that gathers more than there is
// room for is read again instead. Order in the lists is by chance and reaches no result.
#include <cuda_runtime.h>

#include "kernels/top_choice/load.cuh"
#include "kernels/top_choice/top_choice.h"

namespace microtome::kernels {
namespace {

constexpr int kRows = 4, kTeam = kThreads / kRows, kBins = 4096, kRoom = static_cast<int>(kTopBatchRoom);
static_assert(kTopBatchParts == kThreads, "a part a thread");

// In counts: four histograms, then what is found.
struct Found { int threshold, equal; };      // keys above it are taken, and so many of those equal to it, the first ones
__device__ Found* found_of(const TopBatch& b) { return reinterpret_cast<Found*>(b.counts + 4 * kBins); }
__device__ int* stored_of(const TopBatch& b) { return b.of_rows; }
__device__ int* above_of(const TopBatch& b) { return b.of_rows + b.rows.rows; }
__device__ int* equal_of(const TopBatch& b) { return b.of_rows + 2 * b.rows.rows; }

struct Bin { int bin, above; };              // bin -1: all together are fewer than wanted
// The bin in which `want` is reached, counted from the top. A whole block.
__device__ Bin find_bin(const int* counts, int64_t want, int* scratch) {
  __shared__ Bin result;
  __syncthreads();
  if (threadIdx.x == 0) result = {-1, 0};
  constexpr int kEach = kBins / kThreads;
  int n[kEach], sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) sum += n[i] = counts[kBins - 1 - (static_cast<int>(threadIdx.x) * kEach + i)];
  int before = block_before(sum, scratch);
  if (before < want && before + sum >= want) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (before < want && before + n[i] >= want) result = {kBins - 1 - (static_cast<int>(threadIdx.x) * kEach + i), before};
      before += n[i];
    }
  }
  __syncthreads();
  return result;
}

__device__ __forceinline__ int64_t wanted(const TopBatch& b) { return b.rows.rows * b.rows.k; }
// The smallest key that may be chosen.
__device__ int lower_bound(const TopBatch& b, int* scratch) {
  const Bin bin = find_bin(b.counts, wanted(b), scratch);
  const int least = bin.bin << 19;
  return bin.bin <= 0 ? 1 : least;
}

__device__ __forceinline__ void clear(int* own) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) own[i] = 0;
  __syncthreads();
}
__device__ __forceinline__ void add(const int* own, int* all) {
  __syncthreads();
  for (int i = threadIdx.x; i < kBins; i += kThreads)
    if (own[i]) atomicAdd(&all[i], own[i]);
}

template <class T>
__global__ void __launch_bounds__(kThreads) largest_parts(const __grid_constant__ TopBatch b) {
  __shared__ int own[kBins];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const int here = static_cast<int>(b.rows.rows - first < kRows ? b.rows.rows - first : kRows);
  clear(own);
  float most[kRows];
  largest_of_threads<T, kRows, kThreads>(b.rows, static_cast<const T*>(b.rows.pre) + first * b.rows.columns, here, most);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= here) continue;
    b.largest[(first + r) * kThreads + threadIdx.x] = most[r];
    if (const int key = key_of(most[r]); key > 0) atomicAdd(&own[key >> 19], 1);
  }
  add(own, b.counts);
}

template <class T>
__global__ void __launch_bounds__(kThreads) gather(const __grid_constant__ TopBatch b) {
  __shared__ int own[kBins], item[kRows * kThreads], scratch[kWarps + 1], stored[kRows], hits;
  const TopRows& t = b.rows;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const int here = static_cast<int>(t.rows - first < kRows ? t.rows - first : kRows);
  const T* pre = static_cast<const T*>(t.pre) + first * t.columns;
  if (threadIdx.x < kRows) stored[threadIdx.x] = 0;
  if (threadIdx.x == 0) hits = 0;
  clear(own);
  const int least = lower_bound(b, scratch);
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    if (r < here && key_of(b.largest[(first + r) * kThreads + threadIdx.x]) >= least) item[atomicAdd(&hits, 1)] = r * kThreads + static_cast<int>(threadIdx.x);
  __syncthreads();
  for (int n = threadIdx.x / 8; n < hits; n += kThreads / 8) {
    const int r = item[n] / kThreads;
    for (int64_t c = (item[n] % kThreads + static_cast<int64_t>(threadIdx.x % 8) * kThreads) * 8; c < t.columns; c += 8 * kThreads * 8) {
      int keys[8];
      keys_of_eight(t, pre + r * t.columns, c, keys);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (keys[i] >= least) {
          atomicAdd(&own[keys[i] >> 19], 1);
          const int place = atomicAdd(&stored[r], 1);
          if (place < kRoom) reinterpret_cast<int2*>(b.candidates)[(first + r) * kRoom + place] = make_int2(keys[i], static_cast<int>(c + i));
        }
    }
  }
  add(own, b.counts + kBins);
  if (threadIdx.x < here) stored_of(b)[first + threadIdx.x] = stored[threadIdx.x];
}

// f(key) for everything of a row that may be chosen, and perhaps more; the threads of a team.
template <class T, class F>
__device__ __forceinline__ void for_keys(const TopBatch& b, int64_t r, int me, F&& f) {
  const int n = stored_of(b)[r];
  if (n <= kRoom) {
    const int2* own = reinterpret_cast<const int2*>(b.candidates) + r * kRoom;
    for (int i = me; i < n; i += kTeam) f(own[i].x);
    return;
  }
  const T* row = static_cast<const T*>(b.rows.pre) + r * b.rows.columns;
  for (int64_t c = me * 8; c < b.rows.columns; c += kTeam * 8) {
    int keys[8];
    keys_of_eight(b.rows, row, c, keys);
    for (int i = 0; i < 8; ++i)
      if (keys[i] > 0) f(keys[i]);
  }
}

template <class T, bool kLast>
__global__ void __launch_bounds__(kThreads) refine(const __grid_constant__ TopBatch b) {
  __shared__ int own[kBins], scratch[kWarps + 1];
  clear(own);
  const Bin one = find_bin(b.counts + kBins, wanted(b), scratch);
  if (one.bin < 0) return;                               // everything above 0 is taken
  int prefix = one.bin;
  if (kLast) {
    const Bin two = find_bin(b.counts + 2 * kBins, wanted(b) - one.above, scratch);
    prefix = prefix << 12 | two.bin;
  }
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kTeam;
  if (r < b.rows.rows)
    for_keys<T>(b, r, threadIdx.x % kTeam, [&](int key) {
      if (kLast ? key >> 7 == prefix : key >> 19 == prefix) atomicAdd(&own[kLast ? key & 127 : key >> 7 & 4095], 1);
    });
  add(own, b.counts + (kLast ? 3 : 2) * kBins);
}

template <class T>
__global__ void __launch_bounds__(kThreads) count_rows(const __grid_constant__ TopBatch b) {
  __shared__ int above[kRows], equal[kRows], scratch[kWarps + 1];
  if (threadIdx.x < kRows) above[threadIdx.x] = equal[threadIdx.x] = 0;
  Found found = {0, 0};
  const Bin one = find_bin(b.counts + kBins, wanted(b), scratch);
  if (one.bin >= 0) {
    const int64_t left = wanted(b) - one.above;
    const Bin two = find_bin(b.counts + 2 * kBins, left, scratch);
    const Bin three = find_bin(b.counts + 3 * kBins, left - two.above, scratch);
    found = {one.bin << 19 | two.bin << 7 | three.bin, static_cast<int>(left - two.above - three.above)};
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *found_of(b) = found;
  __syncthreads();
  const int team = threadIdx.x / kTeam;
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRows + team;
  if (r < b.rows.rows) {
    int over = 0, same = 0;
    for_keys<T>(b, r, threadIdx.x % kTeam, [&](int key) {
      over += key > found.threshold;
      same += key == found.threshold;
    });
    atomicAdd(&above[team], over);
    atomicAdd(&equal[team], same);
  }
  __syncthreads();
  if (r < b.rows.rows && threadIdx.x % kTeam == 0) {
    above_of(b)[r] = above[team];
    equal_of(b)[r] = equal[team];
  }
}

// row_from; of_rows' third becomes how many equal to the threshold the row takes. One block.
__global__ void __launch_bounds__(kThreads) places(const __grid_constant__ TopBatch b) {
  __shared__ int scratch[kWarps + 1];
  const int64_t n = b.rows.rows, piece = (n + kThreads - 1) / kThreads, from = threadIdx.x * piece < n ? threadIdx.x * piece : n, to = from + piece < n ? from + piece : n;
  const int most = found_of(b)->equal;
  int *above = above_of(b), *equal = equal_of(b);
  int sum = 0;
  for (int64_t r = from; r < to; ++r) sum += equal[r];
  int before = block_before(sum, scratch);
  sum = 0;
  for (int64_t r = from; r < to; ++r) {
    const int own = equal[r], left = most - before, taken = left <= 0 ? 0 : own < left ? own : left;
    before += own;
    equal[r] = taken;
    sum += above[r] + taken;
  }
  before = block_before(sum, scratch);
  for (int64_t r = from; r < to; ++r) {
    b.row_from[r] = before;
    before += above[r] + equal[r];
  }
  if (threadIdx.x == kThreads - 1) b.row_from[n] = before;
}

__device__ __forceinline__ void put(const TopBatch& b, int64_t place, int64_t r, int64_t c, int key) {
  b.row[place] = static_cast<int32_t>(r);
  b.rows.column[place] = static_cast<int32_t>(c);
  b.rows.value[place] = __int_as_float(key);
}

template <class T>
__global__ void __launch_bounds__(kThreads) write(const __grid_constant__ TopBatch b) {
  __shared__ int scratch[kWarps + 1];
  __shared__ int2 candidate[kRows][kRoom];
  const int threshold = found_of(b)->threshold, team = threadIdx.x / kTeam, me = threadIdx.x % kTeam;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows, r = first + team;
  const int n = r < b.rows.rows ? stored_of(b)[r] : 0;
  if (n <= kRoom)
    for (int i = me; i < n; i += kTeam) candidate[team][i] = reinterpret_cast<const int2*>(b.candidates)[r * kRoom + i];
  __syncthreads();
  if (r < b.rows.rows && n <= kRoom) {
    const int take = above_of(b)[r] + equal_of(b)[r];
    const int64_t from = b.row_from[r];
    for (int i = me; i < n; i += kTeam) {
      const int2 mine = candidate[team][i];
      if (mine.x < threshold) continue;
      int rank = 0;
#pragma unroll 4
      for (int j = 0; j < n; ++j) {
        const int2 other = candidate[team][j];
        rank += other.x > mine.x || (other.x == mine.x && other.y < mine.y);
      }
      if (rank < take) put(b, from + rank, r, mine.y, mine.x);
    }
  }
  // Rows without room: in column order, a thread its neighbours.
  for (int64_t q = first; q < first + kRows && q < b.rows.rows; ++q) {
    if (stored_of(b)[q] <= kRoom) continue;
    const T* row = static_cast<const T*>(b.rows.pre) + q * b.rows.columns;
    const int64_t piece = (b.rows.columns + kThreads - 1) / kThreads, from = threadIdx.x * piece, to = from + piece < b.rows.columns ? from + piece : b.rows.columns;
    const int most = equal_of(b)[q];
    int above = 0, equal = 0;
    for (int64_t c = from; c < to; ++c) {
      const int key = key_at(b.rows, row, c);
      above += key > threshold;
      equal += key == threshold && key > 0;
    }
    int64_t a = block_before(above, scratch), e = block_before(equal, scratch);
    for (int64_t c = from; c < to; ++c) {
      const int key = key_at(b.rows, row, c);
      if (key > threshold) put(b, b.row_from[q] + a++ + (e < most ? e : most), q, c, key);
      else if (key == threshold && key > 0) {
        if (e < most) put(b, b.row_from[q] + a + e, q, c, key);
        ++e;
      }
    }
  }
  for (int64_t e = b.row_from[b.rows.rows] + static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; e < wanted(b); e += static_cast<int64_t>(gridDim.x) * kThreads) {
    b.rows.column[e] = -1;
    b.rows.value[e] = 0;
  }
}

template <class T>
cudaError_t start(const TopBatch& b, cudaStream_t s) {
  if (cudaError_t e = cudaMemsetAsync(b.counts, 0, kTopBatchCounts * sizeof(int32_t), s)) return e;
  const unsigned blocks = static_cast<unsigned>((b.rows.rows + kRows - 1) / kRows);
  largest_parts<T><<<blocks, kThreads, 0, s>>>(b);
  gather<T><<<blocks, kThreads, 0, s>>>(b);
  refine<T, false><<<blocks, kThreads, 0, s>>>(b);
  refine<T, true><<<blocks, kThreads, 0, s>>>(b);
  count_rows<T><<<blocks, kThreads, 0, s>>>(b);
  places<<<1, kThreads, 0, s>>>(b);
  write<T><<<blocks, kThreads, 0, s>>>(b);
  return cudaGetLastError();
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_top_batch_cuda(const microtome::kernels::TopBatch& b, int device, void* stream) {
  using namespace microtome::kernels;
  const TopRows& t = b.rows;
  if (t.columns % 8 != 0 || t.k < 1 || t.k > t.columns || t.rows * t.columns > 0x7fffffff) return "not covered";
  for (const void* p : {t.pre, static_cast<const void*>(t.bias), static_cast<const void*>(t.scale), static_cast<const void*>(b.candidates), static_cast<const void*>(b.counts)})
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return "not covered";
  if (t.rows == 0 || t.columns == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  const cudaError_t e = t.bfloat16 ? start<__nv_bfloat16>(b, static_cast<cudaStream_t>(stream)) : start<float>(b, static_cast<cudaStream_t>(stream));
  return e ? cudaGetErrorString(e) : nullptr;
}
