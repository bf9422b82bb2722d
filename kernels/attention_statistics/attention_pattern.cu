// Two walks over the keys of a block of queries: the first finds each query's maximum and sum, the second makes the scores anew
// and writes the weights. So the pattern is written once, in its own type, and nothing of its size is read or kept beside it.
#include "kernels/attention_statistics/tiles.cuh"

namespace microtome::kernels {
namespace {

// Cells are of 4 or 2 bytes; of 2 they are BF16 or FP16.
template <int kBytes>
constexpr int kStagePitch = kTileKeys * kBytes + 16;                  // bytes of a row that waits to be written

// Two cells that follow one another.
template <int kBytes>
__device__ __forceinline__ void put_pair(char* to, float a, float b, bool half) {
  if constexpr (kBytes == 4) {
    *reinterpret_cast<float2*>(to) = make_float2(a, b);
  } else if (half) {
    *reinterpret_cast<__half2*>(to) = __floats2half2_rn(a, b);
  } else {
    *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(a, b);
  }
}

// Writes 16 rows of at most 64 cells from the warp's own shared memory, past the cache, which has the keys; pieces: rows are whole
// 16-byte pieces there.
template <int kBytes>
__device__ __forceinline__ void write_rows(char* out, const char* stage, int rows, int cells, int64_t pitch, bool pieces) {
  const int lane = threadIdx.x % 32;
  if (pieces) {
    constexpr int kPieces = kTileKeys * kBytes / 16;
#pragma unroll
    for (int i = lane; i < 16 * kPieces; i += 32) {
      const int r = i / kPieces, c = i % kPieces * 16;
      if (r < rows && c < cells * kBytes)
        __stcs(reinterpret_cast<uint4*>(out + r * pitch + c), *reinterpret_cast<const uint4*>(stage + r * kStagePitch<kBytes> + c));
    }
  } else {
    for (int i = lane; i < 16 * kTileKeys; i += 32) {
      const int r = i / kTileKeys, c = i % kTileKeys;
      if (r >= rows || c >= cells) continue;
      const char* from = stage + r * kStagePitch<kBytes> + c * kBytes;
      if constexpr (kBytes == 4) *reinterpret_cast<uint32_t*>(out + r * pitch + c * 4) = *reinterpret_cast<const uint32_t*>(from);
      else *reinterpret_cast<uint16_t*>(out + r * pitch + c * 2) = *reinterpret_cast<const uint16_t*>(from);
    }
  }
}

template <Products P, bool kMore, int kBytes>
__global__ void __launch_bounds__(kThreads) pattern_kernel(const Scores s, char* out, bool half) {
  extern __shared__ __align__(16) char memory[];
  constexpr int kRows = kWarps * 16;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % 4;
  const BlockPlace place_of(s.all_heads, kRows);
  const int b = place_of.head / s.heads, h = place_of.head % s.heads, row0 = place_of.row0, warp_row = row0 + warp * 16;
  const char* q = s.q + b * s.q_batch + h * s.q_head;
  const char* k = s.k + b * s.k_batch + h / s.group * s.k_head;
  char* keys = memory + kRows * s.pitch;
  char* stage = keys + 2 * kTileKeys * s.pitch + warp * 16 * kStagePitch<kBytes>;
  const TileRange range(s, row0, min(row0 + kRows, s.count) - 1);
  const float slope = kMore && s.slopes ? static_cast<float>(s.slopes[h]) : 0.0f;
  const float factor = kMore ? 1.0f : s.factor;
  int own[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) own[r] = s.own_of(min(warp_row + r * 8 + lane / 4, s.count - 1));

  fetch_rows(memory, q, s.q_pos, row0, s.count, kRows, s, bytes_of(P));
  const uint32_t my_queries = query_address(memory, warp * 16, s);
  // f(tile, acc): scores of a tile as products, or finished where kMore; -inf where they are not seen.
  auto walk = [&](auto&& f) {
    fetch_rows(keys, k, s.k_pos, range.begin * kTileKeys, s.keys, kTileKeys, s, bytes_of(P));
    for (int tile = range.begin, turn = 0; tile < range.end; ++tile, turn ^= 1) {
      copies_done();
      __syncthreads();
      if (tile + 1 < range.end)
        fetch_rows(keys + (turn ^ 1) * kTileKeys * s.pitch, k, s.k_pos, (tile + 1) * kTileKeys, s.keys, kTileKeys, s, bytes_of(P));
      float acc[1][8][4];
      score_tile<P, 1>(acc, my_queries, key_address(keys + turn * kTileKeys * s.pitch, s), s);
      const int key0 = tile * kTileKeys + 2 * part;
      const bool whole = range.whole(s, tile);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if constexpr (kMore)
#pragma unroll
          for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int c = 0; c < 2; ++c) acc[0][n][2 * r + c] = finished(acc[0][n][2 * r + c], s, slope, key0 + 8 * n + c - own[r]);
        if (whole) continue;
        const int begin = s.begin_of(own[r]) - key0, end = s.end_of(own[r]) - key0;
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            if (8 * n + c < begin || 8 * n + c >= end) acc[0][n][2 * r + c] = kNone;
      }
      f(tile, acc[0]);
    }
    __syncthreads();                                                  // the next walk begins in the same buffers
  };

  float top[2] = {kNone, kNone}, sum[2] = {0, 0};
  walk([&](int, float (&x)[8][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float t = kNone;
#pragma unroll
      for (int n = 0; n < 8; ++n) t = fmaxf(t, fmaxf(x[n][2 * r], x[n][2 * r + 1]));
      t *= factor;
      if (t > top[r]) {
        sum[r] *= top[r] == kNone ? 0.0f : power_of_two(top[r] - t);
        top[r] = t;
      }
      const float from = top[r] == kNone ? 0.0f : top[r];
      float more = 0;
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) more += power_of_two(fmaf(x[n][2 * r + c], factor, -from));
      sum[r] += more;
    }
  });
  const float sink = s.sinks ? static_cast<float>(s.sinks[h] * 1.4426950408889634) : kNone;
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = fmaxf(top[r], sink);
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, lanes));
    // A sum that is not a number stays one.
    float total = sum[r] * (top[r] == kNone ? 0.0f : power_of_two(top[r] - most));
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) total += __shfl_xor_sync(0xffffffffu, total, lanes);
    if (sink != kNone) total += power_of_two(sink - most);
    inverse[r] = total == 0 ? __int_as_float(0x7fc00000) : 1 / total;
    top[r] = most == kNone ? 0.0f : most;
  }

  const int rows = min(16, s.count - warp_row);                        // may be negative
  const int64_t pitch = static_cast<int64_t>(s.keys) * kBytes;
  char* mine = out + ((static_cast<int64_t>(b) * s.heads + h) * s.count + warp_row) * pitch;
  const bool pieces = (reinterpret_cast<uintptr_t>(out) | static_cast<uintptr_t>(pitch)) % 16 == 0;
  // Row by row: where a row is not a number, so is what it does not see, as a softmax has it.
  const auto nothing = [&](int r) { return inverse[r] != inverse[r] ? inverse[r] : 0.0f; };
  auto put = [&](int r, int n, float p0, float p1) {
    put_pair<kBytes>(stage + (r * 8 + lane / 4) * kStagePitch<kBytes> + (8 * n + 2 * part) * kBytes, p0, p1, half);
  };
  walk([&](int tile, float (&x)[8][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int n = 0; n < 8; ++n)
        put(r, n, power_of_two(fmaf(x[n][2 * r], factor, -top[r])) * inverse[r], power_of_two(fmaf(x[n][2 * r + 1], factor, -top[r])) * inverse[r]);
    __syncwarp();
    write_rows<kBytes>(mine + tile * kTileKeys * kBytes, stage, rows, min(kTileKeys, s.keys - tile * kTileKeys), pitch, pieces);
    __syncwarp();
  });
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int n = 0; n < 8; ++n) put(r, n, nothing(r), nothing(r));
  __syncwarp();
  for (int tile = 0; tile * kTileKeys < s.keys; ++tile)
    if (tile < range.begin || tile >= range.end)
      write_rows<kBytes>(mine + tile * kTileKeys * kBytes, stage, rows, min(kTileKeys, s.keys - tile * kTileKeys), pitch, pieces);
}

template <Products P, bool kMore, int kBytes>
cudaError_t start(const Scores& s, const AttentionPattern& work, int most, cudaStream_t stream) {
  constexpr int kRows = kWarps * 16;
  const int bytes = (kRows + 2 * kTileKeys) * s.pitch + kRows * kStagePitch<kBytes>;
  if (bytes > most) return cudaErrorInvalidConfiguration;
  cudaError_t e = cudaFuncSetAttribute(pattern_kernel<P, kMore, kBytes>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (e != cudaSuccess) return e;
  const unsigned grid = blocks_of(s, kRows);
  pattern_kernel<P, kMore, kBytes><<<grid, kThreads, bytes, stream>>>(s, static_cast<char*>(work.out), work.out_type == AttentionType::kFloat16);
  return cudaGetLastError();
}

template <Products P, int kBytes>
cudaError_t start_type(const Scores& s, const AttentionPattern& work, int most, cudaStream_t stream) {
  const bool more = s.softcap > 0 || s.slopes || !(s.scale > 0);
  return more ? start<P, true, kBytes>(s, work, most, stream) : start<P, false, kBytes>(s, work, most, stream);
}

template <Products P>
cudaError_t start_products(const Scores& s, const AttentionPattern& work, int most, cudaStream_t stream) {
  return work.out_type == AttentionType::kFloat32 ? start_type<P, 4>(s, work, most, stream) : start_type<P, 2>(s, work, most, stream);
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_attention_pattern_cuda(const microtome::kernels::AttentionPattern& work, int device, void* stream) {
  using namespace microtome::kernels;
  if (work.scores.batch * work.scores.heads * work.scores.count * work.scores.keys == 0) return nullptr;
  Scores s;
  Products products;
  const char* why = nullptr;
  if (!read_scores(work.scores, s, products, why)) return why;
  int most = 0;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) e = most_shared_memory(device, most);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (e == cudaSuccess) switch (products) {
      case Products::kSplit: e = start_products<Products::kSplit>(s, work, most, on); break;
      case Products::kTf32: e = start_products<Products::kTf32>(s, work, most, on); break;
      case Products::kBFloat16: e = start_products<Products::kBFloat16>(s, work, most, on); break;
      case Products::kFloat16: e = start_products<Products::kFloat16>(s, work, most, on); break;
    }
  return sentence_of(e);
}
