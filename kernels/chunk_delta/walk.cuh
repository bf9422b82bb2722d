// walk.cuh — chunk after chunk. A warp owns 16 columns of d_v of one head and holds the state's transpose S^T [16 x d_k] in its
// registers; every product of a chunk takes its left side from registers and its right side from shared memory, so that warps
// share tiles but wait for one another only where these are filled:
//
//   X^T = V^T - S^T K_from^T;  w^T = X^T T^T;  Z^T = scale S^T Q_from^T + w^T A^T;  S^T = whole S^T + w^T K_to
#pragma once

#include "kernels/chunk_delta/steps.h"
#include "kernels/chunk_delta/tiles.cuh"

namespace microtome::kernels::delta {

template <class N, int kKeys>
__global__ void __launch_bounds__(128) walk_kernel(const Segment s, const WalkShape w) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  constexpr int kTiles = kKeys / 8;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v), group = in.z ? static_cast<int>(in.group) : 1;
  const int64_t H = in.heads;
  const int thread = threadIdx.x, threads = blockDim.x, warp = thread / 32, lane = thread % 32, g = lane >> 2, pair = (lane & 3) * 2;
  const int64_t bh = blockIdx.y, b = bh / H, h = bh % H;
  const int first_column = static_cast<int>(blockIdx.x) * w.warps * 16, part = static_cast<int>(blockIdx.x) * w.warps + warp;
  const int j = part * 16 + g;                          // this thread's columns of d_v are j and j + 8
  const bool mine[2] = {j < V, j + 8 < V};
  const int64_t tokens = min(s.chunks * kTokens, in.positions - s.first * kTokens);   // of the segment
  const int steps = static_cast<int>(s.chunks) * group;
  char* const second = shared + w.stages * w.first_bytes;

  // State.
  float S[kTiles][4];
  float* const home = in.state + bh * K * V;
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = n * 8 + pair + (i & 1);
      S[n][i] = key < K && mine[i / 2] ? home[static_cast<int64_t>(key) * V + j + (i / 2) * 8] : 0.f;
    }

  auto load = [&](int step) {
    if (step < steps) {
      const int c = step / group, m = step - c * group;
      const int64_t at = bh * s.chunks + c, token = (s.first + c) * kTokens;
      const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - token));
      const int64_t row = (b * in.positions + token) * H + h;
      if (m == 0) {
        char* to = shared + (c % w.stages) * w.first_bytes;
        if (w.by_channel) {
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.k_from) + at * kTokens * K, K, kTokens, K, kKeys, thread, threads);
          to += w.tile_bytes;
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.k_to) + at * kTokens * K, K, kTokens, K, kKeys, thread, threads);
        } else {
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.k) + row * K, H * K, rows, K, kKeys, thread, threads);
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
        copy_rows(reinterpret_cast<E*>(to), w.v_pitch, static_cast<const E*>(in.v) + row * V + first_column, H * V, rows, min(V - first_column, w.warps * 16), w.warps * 16, thread, threads);
      }
      if (in.z) {
        char* to = second + (step % w.stages) * w.second_bytes;
        if (w.by_channel) copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(s.q_from) + (at * group + m) * kTokens * K, K, kTokens, K, kKeys, thread, threads);
        else copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.q) + (row * group + m) * K, H * group * K, rows, K, kKeys, thread, threads);
        copy_bytes(to + w.tile_bytes, static_cast<const char*>(s.scores) + (at * group + m) * w.block_bytes, w.block_bytes, thread, threads);
      }
    }
    commit();
  };

  // c += S^T rows^T.
  auto read_state = [&](float (&c)[8][4], const E* rows) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const typename N::A a = N::a_of(S[2 * k], S[2 * k + 1]);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        typename N::B right[2];
        N::b_columns(right, rows + n * 16 * w.pitch + k * 16, w.pitch, lane);
        N::product(c[2 * n], a, right[0]);
        N::product(c[2 * n + 1], a, right[1]);
      }
    }
  };
  // c += x^T triangle^T, x as left sides.
  auto through = [&](float (&c)[8][4], const typename N::A (&x)[4], const char* triangle) {
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int t = m; t < 4; ++t) {
        typename N::B right[2];
        N::load_block(right, triangle + block_at(t, m) * N::kBlock, lane);
        N::product(c[2 * t], x[m], right[0]);
        N::product(c[2 * t + 1], x[m], right[1]);
      }
  };
  auto by_token = [&](float (&c)[8][4], const float* factor) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 f = *reinterpret_cast<const float2*>(factor + n * 8 + pair);
      c[n][0] *= f.x, c[n][1] *= f.y, c[n][2] *= f.x, c[n][3] *= f.y;
    }
  };
  auto write_state = [&](float* to) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = n * 8 + pair + (i & 1);
        if (key < K && mine[i / 2]) to[static_cast<int64_t>(key) * V + j + (i / 2) * 8] = S[n][i];
      }
  };
  // Rows of this warp's columns, through shared memory, where its values are done with.
  auto write_tile = [&](E* to, int64_t stride, int rows, const float (&c)[8][4], E* values) {
    __syncwarp();
#pragma unroll
    for (int n = 0; n < 8; ++n) N::store_turned(values + n * 8 * w.v_pitch, w.v_pitch, c[n], lane);
    __syncwarp();
    store_columns<E>(to + part * 16, stride, rows, V - part * 16, values, w.v_pitch, lane);
  };
  // Sums of squares over this warp's columns, by token.
  auto write_squares = [&](float* to, int64_t stride, const float (&c)[8][4], int rows) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      float x = c[n][0] * c[n][0] + c[n][2] * c[n][2], y = c[n][1] * c[n][1] + c[n][3] * c[n][3];
#pragma unroll
      for (int step = 4; step < 32; step *= 2) x += __shfl_xor_sync(kAll, x, step), y += __shfl_xor_sync(kAll, y, step);
      const int t = n * 8 + pair;
      if (g == 0 && t < rows) to[t * stride] = x;
      if (g == 0 && t + 1 < rows) to[(t + 1) * stride] = y;
    }
  };
  // Which tokens of a chunk are kept: a bit a token.
  auto marks_of = [&](int c, int64_t& last_slot) {
    int64_t slot[2] = {-1, -1};
    const int64_t token = (s.first + c) * kTokens;
    for (int i = 0; i < 2; ++i)
      if (in.kept && token + i * 32 + lane < in.positions) slot[i] = in.slots[token + i * 32 + lane];
    const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - token));
    const uint64_t low = __ballot_sync(kAll, slot[0] >= 0), high = __ballot_sync(kAll, slot[1] >= 0);
    const int64_t a = __shfl_sync(kAll, slot[0], (rows - 1) & 31), z = __shfl_sync(kAll, slot[1], (rows - 1) & 31);
    last_slot = rows > 32 ? z : a;
    return (low | high << 32) & ~(1ull << (rows - 1));
  };

  for (int i = 0; i < w.stages - 1; ++i) load(i);
  int64_t slot = -1;
  uint64_t inside = 0;
  if (in.kept) inside = marks_of(0, slot);

  for (int c = 0; c < s.chunks; ++c) {
    const int64_t token = c * kTokens;                  // of the segment
    const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), tokens - token));
    const int64_t row = (b * in.positions + s.first * kTokens + token) * H + h;
    char* const base = shared + (c % w.stages) * w.first_bytes;
    const E* const k_from = reinterpret_cast<const E*>(base);
    const E* const k_to = reinterpret_cast<const E*>(base + (w.by_channel ? w.tile_bytes : 0));
    const char* const solve = base + w.tile_bytes * (w.by_channel ? 2 : 1);
    const float* const decays = reinterpret_cast<const float*>(solve + w.block_bytes);
    E* const values = reinterpret_cast<E*>(base + w.first_bytes - w.v_bytes) + warp * 16;
    const bool by_number = in.g && !w.by_channel;

    auto arrive = [&](int step) {
      if (w.stages == 1) {
        __syncthreads();
        load(step);
        wait_for<0>();
        __syncthreads();
      } else {
        if (w.stages == 2) wait_for<0>(); else wait_for<1>();
        __syncthreads();
        load(step + w.stages - 1);
      }
    };
    arrive(c * group);

    float x[8][4] = {};
    read_state(x, k_from);
    if (by_number) by_token(x, decays);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float v[2][4];
      N::load_turned(v[0], v[1], values + n * 16 * w.v_pitch, w.v_pitch, lane);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[2 * n][i] = v[0][i] - x[2 * n][i], x[2 * n + 1][i] = v[1][i] - x[2 * n + 1][i];
    }
    typename N::A left[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) left[n] = N::a_of(x[2 * n], x[2 * n + 1]);
    float u[8][4] = {};
    through(u, left, solve);

    if (s.backward) {
      write_tile(static_cast<E*>(s.inputs) + (bh * s.chunks + c) * kTokens * V, V, kTokens, x, values);
      write_tile(static_cast<E*>(s.writes) + (bh * s.chunks + c) * kTokens * V, V, kTokens, u, values);
    }
    if (in.written || (inside && s.values)) {
      float* const to = in.written ? in.written + row * V : s.values + ((b * tokens + token) * H + h) * V;
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int t = n * 8 + pair + (i & 1);
          if (t < rows && mine[i / 2]) to[t * H * V + j + (i / 2) * 8] = u[n][i];
        }
    }
    if (s.write_parts && part < s.parts) write_squares(s.write_parts + ((part * in.batch + b) * tokens + token) * H + h, H, u, rows);
    if (inside || s.backward) write_state(s.starts + (bh * s.chunks + c) * K * V);

    if (in.z) {
#pragma unroll
      for (int n = 0; n < 4; ++n) left[n] = N::a_of(u[2 * n], u[2 * n + 1]);
      for (int m = 0; m < group; ++m) {
        if (m) arrive(c * group + m);
        const char* const queries = second + ((c * group + m) % w.stages) * w.second_bytes;
        float o[8][4] = {};
        read_state(o, reinterpret_cast<const E*>(queries));
        const float scale = static_cast<float>(in.scale);
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) o[n][i] *= scale;
        if (by_number) by_token(o, decays);
        through(o, left, queries + w.tile_bytes);
        if (s.read_parts && part < s.parts) write_squares(s.read_parts + (((part * in.batch + b) * tokens + token) * H + h) * group + m, H * group, o, rows);
        write_tile(static_cast<E*>(in.z) + (row * group + m) * V, H * group * V, rows, o, values);
      }
    }

    if (by_number) {
      by_token(u, decays + kTokens);
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
    for (int m = 0; m < 4; ++m) {
      const typename N::A a = N::a_of(u[2 * m], u[2 * m + 1]);
#pragma unroll
      for (int n = 0; n < kTiles / 2; ++n) {
        typename N::B right[2];
        N::b_rows(right, k_to + m * 16 * w.pitch + n * 16, w.pitch, lane);
        N::product(S[2 * n], a, right[0]);
        N::product(S[2 * n + 1], a, right[1]);
      }
    }
    if (in.kept) {
      if (slot >= 0 && !inside) write_state(in.kept + ((b * in.kept_count + slot) * H + h) * K * V);
      if (c + 1 < s.chunks) inside = marks_of(c + 1, slot);
    }
  }
  write_state(home);
}

template <class N, int kKeys>
const char* walk_case(const Segment& s, cudaStream_t stream) {
  int device = 0, most = 0, processors = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (e != cudaSuccess) return sentence(e);
  // Few heads are spread over the machine; many share tiles.
  int warps = static_cast<int>(s.parts < 4 ? s.parts == 3 ? 3 : s.parts : 4);
  while (warps > 1 && (s.parts + warps - 1) / warps * s.in.batch * s.in.heads * 2 <= processors) warps = (warps + 1) / 2;
  const bool by_channel = s.in.g && s.in.g_width > 1;
  WalkShape w;
  for (;; warps = (warps + 1) / 2) {
    int stages = 3;
    do w = walk_shape(sizeof(typename N::Element), kKeys, warps, stages, by_channel); while (w.bytes() > static_cast<size_t>(most) && --stages);
    if (stages) break;
    if (warps == 1) return "a chunk does not fit in the shared memory";
  }
  e = cudaFuncSetAttribute(walk_kernel<N, kKeys>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(w.bytes()));
  if (e != cudaSuccess) return sentence(e);
  const dim3 grid(static_cast<unsigned>((s.parts + warps - 1) / warps), static_cast<unsigned>(s.in.batch * s.in.heads));
  walk_kernel<N, kKeys><<<grid, w.warps * 32, w.bytes(), stream>>>(s, w);
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
