// walk.cuh — chunk after chunk. Columns of d_v do not depend on one another: 16 of one head belong to a pair of warps. The first one
// holds the state's transpose S^T [16 x d_k] in its registers and goes from chunk to chunk; the second one, a chunk behind, reads
// out and writes down what is noted; two more warps of a block fetch the tiles that all share. Once a chunk they wait for one another.
//
//   X^T = V^T - S^T K_from^T;  w^T = X^T T^T;  S^T = whole S^T + w^T K_to          Z^T = scale S^T Q_from^T + w^T A^T
//
// The left side of every product comes from registers, its right side from shared memory.
#pragma once

#include "kernels/chunk_delta/steps.h"
#include "kernels/chunk_delta/tiles.cuh"

namespace microtome::kernels::delta {

constexpr int kFetching = 2;
constexpr int most_pairs(int keys) { return keys > 128 ? 2 : 4; }

__device__ __forceinline__ void by_token(float (&c)[8][4], const float* factor, int pair) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float2 f = *reinterpret_cast<const float2*>(factor + n * 8 + pair);
    c[n][0] *= f.x, c[n][1] *= f.y, c[n][2] *= f.x, c[n][3] *= f.y;
  }
}

// Accumulators of one warp as they are, and back.
template <int kCount>
__device__ __forceinline__ void hand_over(float* to, const float (&c)[kCount][4], int lane) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) reinterpret_cast<float4*>(to)[n * 32 + lane] = make_float4(c[n][0], c[n][1], c[n][2], c[n][3]);
}
__device__ __forceinline__ void take_over(float (&c)[4], const float* from, int n, int lane) {
  const float4 f = reinterpret_cast<const float4*>(from)[n * 32 + lane];
  c[0] = f.x, c[1] = f.y, c[2] = f.z, c[3] = f.w;
}

// The same for left sides of 16-bit elements, which are all that reading out needs.
template <class N>
__device__ __forceinline__ void hand_over_left(float* to, const typename N::A& a, int n, int lane) {
  if constexpr (sizeof(typename N::Element) == 2) reinterpret_cast<uint4*>(to)[n * 32 + lane] = make_uint4(a.r[0], a.r[1], a.r[2], a.r[3]);
}
template <class N>
__device__ __forceinline__ void take_over_left(typename N::A& a, const float* from, int n, int lane) {
  if constexpr (sizeof(typename N::Element) == 2) {
    const uint4 r = reinterpret_cast<const uint4*>(from)[n * 32 + lane];
    a.r[0] = r.x, a.r[1] = r.y, a.r[2] = r.z, a.r[3] = r.w;
  }
}

// Tile n of S^T into an array [d_k, d_v].
__device__ __forceinline__ void write_state_tile(float* to, const float (&c)[4], int n, int K, int V, int j, int lane) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = n * 8 + (lane & 3) * 2 + (i & 1), column = j + (i / 2) * 8;
    if (key < K && column < V) to[static_cast<int64_t>(key) * V + column] = c[i];
  }
}

// Sums of squares over a warp's columns, by token.
__device__ __forceinline__ void write_squares(float* to, int64_t stride, const float (&c)[8][4], int rows, int lane) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    float x = c[n][0] * c[n][0] + c[n][2] * c[n][2], y = c[n][1] * c[n][1] + c[n][3] * c[n][3];
#pragma unroll
    for (int step = 4; step < 32; step *= 2) x += __shfl_xor_sync(kAll, x, step), y += __shfl_xor_sync(kAll, y, step);
    const int t = n * 8 + (lane & 3) * 2;
    if (lane < 4 && t < rows) to[t * stride] = x;
    if (lane < 4 && t + 1 < rows) to[(t + 1) * stride] = y;
  }
}

// Which tokens of a chunk are kept: a bit a token, the last one's slot apart.
__device__ __forceinline__ uint64_t marks_of(const Segment& s, int64_t c, int64_t& last_slot, int lane) {
  int64_t slot[2] = {-1, -1};
  const int64_t token = (s.first + c) * kTokens;
  for (int i = 0; i < 2; ++i)
    if (token + i * 32 + lane < s.in.positions) slot[i] = s.in.slots[token + i * 32 + lane];
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), s.in.positions - token));
  const uint64_t low = __ballot_sync(kAll, slot[0] >= 0), high = __ballot_sync(kAll, slot[1] >= 0);
  const int64_t a = __shfl_sync(kAll, slot[0], (rows - 1) & 31), z = __shfl_sync(kAll, slot[1], (rows - 1) & 31);
  last_slot = rows > 32 ? z : a;
  return (low | high << 32) & ~(1ull << (rows - 1));
}

template <class N, int kKeys>
__global__ void __launch_bounds__((2 * most_pairs(kKeys) + kFetching) * 32) walk_kernel(const Segment s, const WalkShape w) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  constexpr int kTiles = kKeys / 8;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v), group = in.z ? static_cast<int>(in.group) : 1;
  const int64_t H = in.heads, bh = blockIdx.y, b = bh / H, h = bh % H;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pair = (lane & 3) * 2;
  const int first_column = static_cast<int>(blockIdx.x) * w.warps * 16;
  const int64_t tokens = min(s.chunks * kTokens, in.positions - s.first * kTokens);   // of the segment
  const int chunks = static_cast<int>(s.chunks), steps = (chunks + 1) * group;
  const bool by_number = in.g && !w.by_channel;
  char* const second = shared + w.stages * w.first_bytes;
  // Step t: chunk t / group is walked where t is its first step; query head t % group of the chunk before is read out.
  auto first_of = [&](int c) { return shared + (c % w.stages) * w.first_bytes; };
  auto second_of = [&](int step) { return second + (step % w.stages) * w.second_bytes; };
  auto wait_for_all = [&] { __syncthreads(); };

  if (warp >= 2 * w.warps) {
    const int thread = threadIdx.x - 2 * w.warps * 32, threads = kFetching * 32;
    auto rows_of = [&](int64_t c) { return static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - (s.first + c) * kTokens)); };
    auto load = [&](int step) {
      const int c = step / group, m = step % group, before = c - 1;
      if (m == 0 && c < chunks) {
        const int64_t at = bh * chunks + c, row = (b * in.positions + (s.first + c) * kTokens) * H + h;
        char* to = first_of(c);
        if (w.by_channel) {
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.k_from) + at * kTokens * K, K, kTokens, K, kKeys, thread, threads);
          to += w.tile_bytes;
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.k_to) + at * kTokens * K, K, kTokens, K, kKeys, thread, threads);
        } else {
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.k) + row * K, H * K, rows_of(c), K, kKeys, thread, threads);
        }
        to += w.tile_bytes;
        copy_bytes(to, static_cast<const char*>(s.solve) + at * w.block_bytes, w.block_bytes, thread, threads);
        to += w.block_bytes;
        if (w.by_channel) {
          for (int i = thread; i < kKeys; i += threads) copy4(to + 4 * i, s.decays + at * K + min(i, K - 1), i < K);
          to += kKeys * 4;
        } else {
          if (in.g) copy_bytes(to, s.decays + at * 2 * kTokens, 2 * kTokens * 4, thread, threads);
          to += 2 * kTokens * 4;
        }
        copy_rows(reinterpret_cast<E*>(to), w.v_pitch, static_cast<const E*>(in.v) + row * V + first_column, H * V, rows_of(c), min(V - first_column, w.warps * 16), w.warps * 16, thread, threads);
      }
      if (in.z && before >= 0 && before < chunks) {
        const int64_t at = bh * chunks + before, row = (b * in.positions + (s.first + before) * kTokens) * H + h;
        char* const to = second_of(step);
        if (w.by_channel) copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.q_from) + (at * group + m) * kTokens * K, K, kTokens, K, kKeys, thread, threads);
        else copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.q) + (row * group + m) * K, H * group * K, rows_of(before), K, kKeys, thread, threads);
        copy_bytes(to + w.tile_bytes, static_cast<const char*>(s.scores) + (at * group + m) * w.block_bytes, w.block_bytes, thread, threads);
        if (by_number) copy_bytes(to + w.tile_bytes + w.block_bytes, s.decays + at * 2 * kTokens, kTokens * 4, thread, threads);
      }
      commit();
    };
    if (w.stages == 1) {
      for (int step = 0; step < steps; ++step) {
        load(step);
        wait_for<0>();
        wait_for_all();
        wait_for_all();
      }
    } else {
      for (int i = 0; i < w.stages - 1; ++i) load(i);
      for (int step = 0; step < steps; ++step) {
        if (w.stages == 2) wait_for<0>(); else wait_for<1>();
        wait_for_all();
        load(step + w.stages - 1);
      }
    }
    wait_for<0>();
    return;
  }

  const bool reads_out = warp >= w.warps;
  const int column = reads_out ? warp - w.warps : warp, part = static_cast<int>(blockIdx.x) * w.warps + column, j = part * 16 + (lane >> 2);
  char* const exchange = second + w.stages * w.second_bytes + column * 2 * w.exchange_bytes;
  auto exchanged = [&](int c) { return reinterpret_cast<float*>(exchange + (c & 1) * w.exchange_bytes); };

  if (!reads_out) {
    float S[kTiles][4];
    float* const home = in.state + bh * K * V;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = n * 8 + pair + (i & 1), v = j + (i / 2) * 8;
        S[n][i] = key < K && v < V ? home[static_cast<int64_t>(key) * V + v] : 0.f;
      }
    for (int step = 0; step < steps; ++step) {
      wait_for_all();
      const int c = step / group;
      if (step % group == 0 && c < chunks) {
        const char* const base = first_of(c);
        const E* const k_from = reinterpret_cast<const E*>(base);
        const E* const k_to = reinterpret_cast<const E*>(base + (w.by_channel ? w.tile_bytes : 0));
        const char* const solve = base + w.tile_bytes * (w.by_channel ? 2 : 1);
        const float* const decays = reinterpret_cast<const float*>(solve + w.block_bytes);
        const E* const values = reinterpret_cast<const E*>(base + w.first_bytes - w.v_bytes) + column * 16;
        float* const to = exchanged(c);
        if (w.wide) hand_over<kTiles>(to, S, lane);
        float x[8][4] = {};
#pragma unroll
        for (int k = 0; k < kKeys / 16; ++k) {
          const typename N::A a = N::a_of(S[2 * k], S[2 * k + 1]);
          if (!w.wide) hand_over_left<N>(to, a, k, lane);
          times_columns<N>(x, a, k_from + k * 16, w.pitch, lane);
        }
        if (by_number) by_token(x, decays, pair);
        typename N::A left[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          float v[2][4];
          N::load_turned(v[0], v[1], values + n * 16 * w.v_pitch, w.v_pitch, lane);
#pragma unroll
          for (int i = 0; i < 4; ++i) x[2 * n][i] = v[0][i] - x[2 * n][i], x[2 * n + 1][i] = v[1][i] - x[2 * n + 1][i];
          left[n] = N::a_of(x[2 * n], x[2 * n + 1]);
        }
        if (s.backward) {
          // X, for the gradients: each value a store, in the order of the registers.
          E* const inputs = static_cast<E*>(s.inputs) + (bh * chunks + c) * kTokens * V;
#pragma unroll
          for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
              if (j + (i / 2) * 8 < V) inputs[(n * 8 + pair + (i & 1)) * V + j + (i / 2) * 8] = E(x[n][i]);
        }
        float u[8][4] = {};
        times_triangle<N>(u, left, solve, lane);
        if (w.wide) hand_over<8>(to + kKeys * 16, u, lane);
        else
#pragma unroll
          for (int n = 0; n < 4; ++n) hand_over_left<N>(to, N::a_of(u[2 * n], u[2 * n + 1]), kKeys / 16 + n, lane);
        if (by_number) {
          by_token(u, decays + kTokens, pair);
          const float whole = decays[kTokens - 1];
#pragma unroll
          for (int n = 0; n < kTiles; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) S[n][i] *= whole;
        }
        if (w.by_channel)
#pragma unroll
          for (int n = 0; n < kTiles; ++n) {
            const float2 f = *reinterpret_cast<const float2*>(decays + n * 8 + pair);
            S[n][0] *= f.x, S[n][1] *= f.y, S[n][2] *= f.x, S[n][3] *= f.y;
          }
#pragma unroll
        for (int m = 0; m < 4; ++m) times_rows<N, kTiles>(S, N::a_of(u[2 * m], u[2 * m + 1]), k_to + m * 16 * w.pitch, w.pitch, lane);
      }
      if (w.stages == 1) wait_for_all();
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) write_state_tile(home, S[n], n, K, V, j, lane);
    if (in.kept) {
      int64_t slot;
      if (!marks_of(s, chunks - 1, slot, lane) && slot >= 0)
#pragma unroll
        for (int n = 0; n < kTiles; ++n) write_state_tile(in.kept + ((b * in.kept_count + slot) * H + h) * K * V, S[n], n, K, V, j, lane);
    }
    return;
  }

  // Slots of the chunk that is read out and, known already, whether the state before it is kept as the last one of its predecessor.
  int64_t slot = -1, slot_before = -1;
  uint64_t inside = 0, inside_before = 0;
  for (int step = 0; step < steps; ++step) {
    wait_for_all();
    const int c = step / group - 1, m = step % group;
    if (c >= 0) {
      const int64_t token = static_cast<int64_t>(c) * kTokens;   // of the segment
      const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), tokens - token));
      const int64_t row = (b * in.positions + s.first * kTokens + token) * H + h;
      const float* const S = exchanged(c);
      float u[8][4];
      if (w.wide)
#pragma unroll
        for (int n = 0; n < 8; ++n) take_over(u[n], S + kKeys * 16, n, lane);
      if (m == 0 && w.wide) {
        if (in.kept) {
          slot_before = slot, inside_before = inside;
          inside = marks_of(s, c, slot, lane);
          if (c > 0 && slot_before >= 0 && !inside_before) {
            float* const to = in.kept + ((b * in.kept_count + slot_before) * H + h) * K * V;
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
              float x[4];
              take_over(x, S, n, lane);
              write_state_tile(to, x, n, K, V, j, lane);
            }
          }
        }
        if (inside || s.backward) {
          float* const to = s.starts + (bh * chunks + c) * K * V;
#pragma unroll
          for (int n = 0; n < kTiles; ++n) {
            float x[4];
            take_over(x, S, n, lane);
            write_state_tile(to, x, n, K, V, j, lane);
          }
        }
        if (in.written || (inside && s.values)) {
          float* const to = in.written ? in.written + row * V : s.values + ((b * tokens + token) * H + h) * V;
#pragma unroll
          for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int t = n * 8 + pair + (i & 1), v = j + (i / 2) * 8;
              if (t < rows && v < V) to[t * H * V + v] = u[n][i];
            }
        }
        if (s.write_parts && part < s.parts) write_squares(s.write_parts + ((part * in.batch + b) * tokens + token) * H + h, H, u, rows, lane);
      }
      // Outputs in rows of 16 columns, through shared memory.
      E* const staging = reinterpret_cast<E*>(w.staging_bytes ? second + w.stages * w.second_bytes + w.warps * 2 * w.exchange_bytes + column * w.staging_bytes : reinterpret_cast<char*>(exchanged(c)));
      auto write_tile = [&](E* to, int64_t stride, int count, const float (&x)[8][4]) {
        __syncwarp();
#pragma unroll
        for (int n = 0; n < 8; ++n) N::store_turned(staging + n * 8 * 24, 24, x[n], lane);
        __syncwarp();
        store_columns<E>(to + part * 16, stride, count, V - part * 16, staging, 24, lane);
      };
      if (in.z) {
        const char* const queries = second_of(step);
        float o[8][4] = {};
#pragma unroll
        for (int k = 0; k < kKeys / 16; ++k) {
          typename N::A a;
          if (w.wide) {
            float x[2][4];
            take_over(x[0], S, 2 * k, lane);
            take_over(x[1], S, 2 * k + 1, lane);
            a = N::a_of(x[0], x[1]);
          } else {
            take_over_left<N>(a, S, k, lane);
          }
          times_columns<N>(o, a, reinterpret_cast<const E*>(queries) + k * 16, w.pitch, lane);
        }
        const float scale = static_cast<float>(in.scale);
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) o[n][i] *= scale;
        if (by_number) by_token(o, reinterpret_cast<const float*>(queries + w.tile_bytes + w.block_bytes), pair);
        typename N::A left[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          if (w.wide) left[n] = N::a_of(u[2 * n], u[2 * n + 1]);
          else take_over_left<N>(left[n], S, kKeys / 16 + n, lane);
        }
        times_triangle<N>(o, left, queries + w.tile_bytes, lane);
        if (s.read_parts && part < s.parts) write_squares(s.read_parts + (((part * in.batch + b) * tokens + token) * H + h) * group + m, H * group, o, rows, lane);
        write_tile(static_cast<E*>(in.z) + (row * group + m) * V, H * group * V, rows, o);
      }
      if (s.backward) write_tile(static_cast<E*>(s.writes) + (bh * chunks + c) * kTokens * V, V, kTokens, u);
    }
    if (w.stages == 1) wait_for_all();
  }
}

template <class N, int kKeys>
const char* walk_case(const Segment& s, cudaStream_t stream) {
  int device = 0, most = 0, processors = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (e != cudaSuccess) return sentence(e);
  // Few heads are spread over the machine; many share tiles.
  int warps = static_cast<int>(s.parts < most_pairs(kKeys) ? s.parts : most_pairs(kKeys));
  while (warps > 1 && (s.parts + warps - 1) / warps * s.in.batch * s.in.heads * 2 <= processors) warps = (warps + 1) / 2;
  const bool by_channel = s.in.g && s.in.g_width > 1;
  const Chunk& in = s.in;
  const bool wide = sizeof(typename N::Element) == 4 || in.kept || in.written || in.write_norm || s.backward;
  // Two stages hide the fetching; one does not, and is better than fewer than half of the pairs, each of which fetches all keys. What
  // runs beside needs room too.
  WalkShape w;
  bool fits = false;
  for (int least = 2; least > 0 && !fits; --least)
    for (int pairs = warps; pairs > 0 && !fits && (least == 1 || 2 * pairs >= warps); --pairs)
      for (int stages = s.beside ? 2 : 3; stages >= least && !fits; --stages) {
        w = walk_shape(sizeof(typename N::Element), kKeys, pairs, stages, by_channel, in.group > 1 && in.z, wide);
        fits = w.bytes() <= most;
      }
  if (!fits) return "a chunk does not fit in the shared memory";
  e = cudaFuncSetAttribute(walk_kernel<N, kKeys>, cudaFuncAttributeMaxDynamicSharedMemorySize, w.bytes());
  if (e != cudaSuccess) return sentence(e);
  const dim3 grid(static_cast<unsigned>((s.parts + w.warps - 1) / w.warps), static_cast<unsigned>(s.in.batch * s.in.heads));   // fewer pairs may fit than were wanted
  walk_kernel<N, kKeys><<<grid, (2 * w.warps + kFetching) * 32, w.bytes(), stream>>>(s, w);
  return sentence(cudaGetLastError());
}

template <class N>
const char* walk_of(const Segment& s, cudaStream_t stream) {
  switch (padded_keys(s.in)) {
    case 32: return walk_case<N, 32>(s, stream);
    case 64: return walk_case<N, 64>(s, stream);
    case 128: return walk_case<N, 128>(s, stream);
    default: return walk_case<N, 256>(s, stream);
  }
}

}  // namespace microtome::kernels::delta
