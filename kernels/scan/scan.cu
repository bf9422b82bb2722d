// One warp has four columns of one head's state: lane = part * 4 + column, and a part has R rows that follow one another.
// Columns do not depend on one another, so that a warp never waits for another one. Tokens come in tiles through shared
// memory, the next one while the last is used.
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/scan/scan.h"

namespace microtome::kernels {
namespace {

constexpr int kColumns = 4, kParts = 8, kWarp = 32, kTogether = 4;   // kTogether: tokens whose read-outs are summed together

__device__ __forceinline__ float over_parts(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 4);
  x += __shfl_xor_sync(0xffffffffu, x, 8);
  return x + __shfl_xor_sync(0xffffffffu, x, 16);
}

// Copies `width` floats of each of n rows, `stride` apart there and `pitch` here; in 16-byte pieces where both ends allow it.
__device__ __forceinline__ void fetch(float* to, int pitch, const float* from, int64_t stride, int width, int n, int lane) {
  if ((reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(stride * 4) | static_cast<uintptr_t>(width * 4)) % 16 == 0) {
    const int pieces = width / 4;
    for (int i = lane; i < n * pieces; i += kWarp) {
      const int t = i / pieces, c = (i - t * pieces) * 4;
      __pipeline_memcpy_async(to + t * pitch + c, from + t * stride + c, 16);
    }
  } else {
    for (int i = lane; i < n * width; i += kWarp) {
      const int t = i / width, c = i - t * width;
      __pipeline_memcpy_async(to + t * pitch + c, from + t * stride + c, 4);
    }
  }
}

// What a token writes: v at k; what the decayed state lacks at k (delta); what the state before the decay lacks at a (own key);
// v at k and that state's answer to a at b (low rank). kBefore: v at k, and the read comes first.
enum Write { kPlain, kDelta, kOwnKey, kLowRank, kBefore };
__host__ __device__ constexpr bool has_beta(int w) { return w == kDelta || w == kOwnKey; }
__host__ __device__ constexpr bool has_a(int w) { return w == kOwnKey || w == kLowRank; }

// Where each begins in a buffer. A token's keys and queries have 8 R places, those behind d_k zeros.
struct Tile {
  int k, q, g, v, beta, a, b, floats;
};

__host__ __device__ inline int up4(int n) { return (n + 3) / 4 * 4; }

__host__ __device__ inline Tile tile_of(int tokens, int keys, int group, int g_width, int write) {
  Tile t;
  t.k = 0;
  t.q = tokens * keys;
  t.g = t.q + tokens * group * keys;
  t.v = t.g + tokens * (g_width > 1 ? keys : up4(g_width));
  t.beta = t.v + tokens * kColumns;
  t.a = t.beta + (has_beta(write) ? up4(tokens) : 0);
  t.b = t.a + (has_a(write) ? tokens * keys : 0);
  t.floats = t.b + (write == kLowRank ? tokens * keys : 0);
  return t;
}

// R floats of this part from 16-byte places.
template <int R>
__device__ __forceinline__ void rows_of(float (&out)[R], const float* from, int part) {
  const float4* p = reinterpret_cast<const float4*>(from + part * R);
#pragma unroll
  for (int r = 0; r < R / 4; ++r) {
    const float4 x = p[r];
    out[4 * r] = x.x;
    out[4 * r + 1] = x.y;
    out[4 * r + 2] = x.z;
    out[4 * r + 3] = x.w;
  }
}

template <int R>
__device__ __forceinline__ float product(const float (&a)[R], const float (&b)[R]) {
  float sum[4] = {};
#pragma unroll
  for (int r = 0; r < R; ++r) sum[r % 4] += a[r] * b[r];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// R: rows of a part, at least d_k / 8, a multiple of 4. W: width of the decay as 0, 1 or 2 (a number a row).
template <int R, int W, int kWrite>
__global__ void __launch_bounds__(kWarp) scan_kernel(const Scan s, const int tokens) {
  extern __shared__ __align__(16) float shared[];
  constexpr int kKeys = kParts * R;
  const int K = static_cast<int>(s.d_k), V = static_cast<int>(s.d_v), H = static_cast<int>(s.heads), G = static_cast<int>(s.group);
  const int lane = static_cast<int>(threadIdx.x), part = lane / kColumns, column = lane % kColumns;
  const int64_t bh = blockIdx.x, b = bh / H, h = bh % H, T = s.positions, first_row = b * T * H + h;
  const int first = static_cast<int>(blockIdx.y) * kColumns, j = first + column;
  const bool mine = j < V;
  const int columns = min(kColumns, V - first);
  const Tile tile = tile_of(tokens, kKeys, G, W > 1 ? K : W, kWrite);
  const int gates = W > 1 ? kKeys : up4(W);
  const float scale = static_cast<float>(s.scale);
  const float *q = static_cast<const float*>(s.q), *k = static_cast<const float*>(s.k), *v = static_cast<const float*>(s.v), *g = static_cast<const float*>(s.g), *beta = static_cast<const float*>(s.beta);
  float *const z = static_cast<float*>(s.z), *const written = static_cast<float*>(s.written), *const kept = static_cast<float*>(s.kept);

  // Places that no copy reaches stay zero.
  for (int i = lane; i < 2 * tile.floats; i += kWarp) shared[i] = 0.f;
  __syncwarp();
  float S[R];
  float* const home = static_cast<float*>(s.state) + bh * K * V + j;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int i = part * R + r;
    S[r] = mine && i < K ? home[static_cast<int64_t>(i) * V] : 0.f;
  }
  float bonus[R];
  if (kWrite == kBefore) {
#pragma unroll
    for (int r = 0; r < R; ++r) bonus[r] = part * R + r < K ? static_cast<const float*>(s.u)[h * K + part * R + r] : 0.f;
  }
  auto load = [&](int64_t from, float* buffer) {
    const int n = static_cast<int>(min(static_cast<int64_t>(tokens), T - from));
    const int64_t row = first_row + from * H;
    fetch(buffer + tile.k, kKeys, k + row * K, static_cast<int64_t>(H) * K, K, n, lane);
    if (z)
      for (int m = 0; m < G; ++m) fetch(buffer + tile.q + m * kKeys, G * kKeys, q + (row * G + m) * K, static_cast<int64_t>(H) * G * K, K, n, lane);
    if (W == 1) fetch(buffer + tile.g, gates, g + row, H, 1, n, lane);
    if (W > 1) fetch(buffer + tile.g, gates, g + row * K, static_cast<int64_t>(H) * K, K, n, lane);
    fetch(buffer + tile.v, kColumns, v + row * V + first, static_cast<int64_t>(H) * V, columns, n, lane);
    if (has_beta(kWrite)) fetch(buffer + tile.beta, 1, beta + row, H, 1, n, lane);
    if (has_a(kWrite)) fetch(buffer + tile.a, kKeys, static_cast<const float*>(s.a) + row * K, static_cast<int64_t>(H) * K, K, n, lane);
    if (kWrite == kLowRank) fetch(buffer + tile.b, kKeys, static_cast<const float*>(s.b) + row * K, static_cast<int64_t>(H) * K, K, n, lane);
    __pipeline_commit();
  };
  load(0, shared);
  int turn = 0;
  for (int64_t from = 0; from < T; from += tokens, turn ^= 1) {
    const float* buffer = shared + turn * tile.floats;
    if (from + tokens < T) {
      load(from + tokens, shared + (turn ^ 1) * tile.floats);
      __pipeline_wait_prior(1);
    } else {
      __pipeline_wait_prior(0);
    }
    __syncwarp();
    const int n = static_cast<int>(min(static_cast<int64_t>(tokens), T - from));
    for (int t0 = 0; t0 < n; t0 += kTogether) {
      float read[kTogether];
#pragma unroll
      for (int u = 0; u < kTogether; ++u) {
        const int t = t0 + u;
        read[u] = 0.f;
        if (t >= n) continue;
        const int64_t row = first_row + (from + t) * H;
        float key[R], query[R];
        rows_of(key, buffer + tile.k + t * kKeys, part);
        if (z) rows_of(query, buffer + tile.q + t * G * kKeys, part);
        float w = buffer[tile.v + t * kColumns + column], answer = 0.f;
        if (has_a(kWrite)) {
          float erase[R];
          rows_of(erase, buffer + tile.a + t * kKeys, part);
          answer = over_parts(product(S, erase));
        }
        if (kWrite == kBefore && z) {
          float own = 0.f;
#pragma unroll
          for (int r = 0; r < R; ++r) own += bonus[r] * query[r] * key[r];
          read[u] = product(S, query) + own * w;
        }
        if (W == 1) {
          const float decay = expf(buffer[tile.g + t * gates]);
#pragma unroll
          for (int r = 0; r < R; ++r) S[r] *= decay;
        }
        if (W > 1) {
          float gate[R];
          rows_of(gate, buffer + tile.g + t * gates, part);
#pragma unroll
          for (int r = 0; r < R; ++r) S[r] *= expf(gate[r]);
        }
        if (kWrite == kDelta) w = buffer[tile.beta + t] * (w - over_parts(product(S, key)));
        if (kWrite == kOwnKey) w = buffer[tile.beta + t] * (w - answer);
#pragma unroll
        for (int r = 0; r < R; ++r) S[r] += key[r] * w;
        if (kWrite == kLowRank) {
          float put[R];
          rows_of(put, buffer + tile.b + t * kKeys, part);
#pragma unroll
          for (int r = 0; r < R; ++r) S[r] += put[r] * answer;
        }
        if (kept) {
          const int64_t slot = s.slots[from + t];
          if (slot >= 0 && mine) {
            float* to = kept + ((b * s.kept_count + slot) * H + h) * K * V + static_cast<int64_t>(part * R) * V + j;
#pragma unroll
            for (int r = 0; r < R; ++r)
              if (part * R + r < K) __stcs(to + r * V, S[r]);
          }
        }
        if (written && part == 0 && mine) written[row * V + j] = w;
        if (!z || kWrite == kBefore) continue;
        read[u] = product(S, query);
        for (int m = 1; m < G; ++m) {
          rows_of(query, buffer + tile.q + (t * G + m) * kKeys, part);
          const float sum = over_parts(product(S, query));
          if (part == 0 && mine) z[(row * G + m) * V + j] = scale * sum;
        }
      }
      if (!z) continue;
#pragma unroll
      for (int u = 0; u < kTogether; ++u) read[u] = over_parts(read[u]);
#pragma unroll
      for (int u = 0; u < kTogether; ++u)
        if (t0 + u < n && part == u % kParts && mine) z[(first_row + (from + t0 + u) * H) * G * V + j] = scale * read[u];
    }
    __syncwarp();
  }
  if (!mine) return;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int i = part * R + r;
    if (i < K) home[static_cast<int64_t>(i) * V] = S[r];
  }
}

template <int R, int W, int kWrite>
cudaError_t start_case(const Scan& s, cudaStream_t stream) {
  // Tiles of some kilobytes: several blocks of a multiprocessor stay resident, and a tile lasts longer than fetching one takes.
  const int keys = kParts * R, rows = keys * static_cast<int>(1 + s.group) + (W > 1 ? keys : 0) + (has_a(kWrite) ? keys : 0) + (kWrite == kLowRank ? keys : 0);
  const int tokens = std::clamp<int>(3072 / rows, 1, 32);
  const Tile tile = tile_of(tokens, keys, static_cast<int>(s.group), W > 1 ? static_cast<int>(s.d_k) : W, kWrite);
  const size_t bytes = 2 * static_cast<size_t>(tile.floats) * sizeof(float);
  if (bytes > 48 << 10) {
    const cudaError_t e = cudaFuncSetAttribute(scan_kernel<R, W, kWrite>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (e != cudaSuccess) return e;
  }
  const dim3 grid(static_cast<unsigned>(s.batch * s.heads), static_cast<unsigned>((s.d_v + kColumns - 1) / kColumns));
  scan_kernel<R, W, kWrite><<<grid, kWarp, bytes, stream>>>(s, tokens);
  return cudaGetLastError();
}

template <int R>
cudaError_t start(const Scan& s, cudaStream_t stream) {
  const bool by_row = s.g_width > 1;
  if (s.u) return by_row && !s.beta && !s.a && s.group == 1 ? start_case<R, 2, kBefore>(s, stream) : cudaErrorInvalidValue;
  if (s.b) return by_row && s.a && !s.beta ? start_case<R, 2, kLowRank>(s, stream) : cudaErrorInvalidValue;
  if (s.a) return s.g_width == 1 && s.beta ? start_case<R, 1, kOwnKey>(s, stream) : cudaErrorInvalidValue;
  if (s.beta) return by_row ? start_case<R, 2, kDelta>(s, stream) : s.g_width ? start_case<R, 1, kDelta>(s, stream) : start_case<R, 0, kDelta>(s, stream);
  return by_row ? start_case<R, 2, kPlain>(s, stream) : s.g_width ? start_case<R, 1, kPlain>(s, stream) : start_case<R, 0, kPlain>(s, stream);
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_scan_cuda(const microtome::kernels::Scan& s, int device, void* stream) {
  using namespace microtome::kernels;
  if (s.batch * s.heads == 0 || s.positions == 0 || s.d_v == 0) return nullptr;
  cudaError_t e = cudaSetDevice(device);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (e == cudaSuccess) {
    if (s.d_k <= 32) e = start<4>(s, on);
    else if (s.d_k <= 64) e = start<8>(s, on);
    else if (s.d_k <= 128) e = start<16>(s, on);
    else if (s.d_k <= kScanMostKeys) e = start<32>(s, on);
    else e = cudaErrorInvalidValue;
  }
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}
