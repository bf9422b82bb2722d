// backward.cuh — gradients; what is made of them for all chunks at once where the decay is none or a number a token (by channel:
// finish_channel.cuh).
//
// From the last chunk to the first, a warp with 16 columns of the state's gradient D as in walk.cuh, D' after a chunk:
//   dw = A^T dZ + K_to D';  y = (I + L)^-T dw;  dV = beta y;  D = whole D' + scale Q_from^T dZ - K_from^T (beta y)
// Then a block a chunk: dA = dZ w^T, dL = -y w^T and what the keys and queries get as readers and writers. b_t stands beside each
// reader at t as exp(b_t) and beside each writer as exp(-b_t), so that its gradient is a sum of k and q times what they get.
#pragma once

#include "kernels/chunk_delta/prepare.cuh"
#include "kernels/chunk_delta/walk.cuh"

namespace microtome::kernels::delta {

template <class N, int kKeys>
__global__ void __launch_bounds__(128) back_kernel(const Segment s, const ChunkGradient gradient, const BackShape w) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  constexpr int kTiles = kKeys / 8;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v);
  const int64_t H = in.heads;
  const int thread = threadIdx.x, threads = blockDim.x, warp = thread / 32, lane = thread % 32, g = lane >> 2, pair = (lane & 3) * 2;
  const int64_t bh = blockIdx.y, b = bh / H, h = bh % H;
  const int first_column = static_cast<int>(blockIdx.x) * w.warps * 16, part = static_cast<int>(blockIdx.x) * w.warps + warp, j = part * 16 + g;
  const bool mine[2] = {j < V, j + 8 < V};
  const float scale = static_cast<float>(in.scale);

  float D[kTiles][4];
  float* const home = s.adjoint + bh * K * V;
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = n * 8 + pair + (i & 1);
      D[n][i] = key < K && mine[i / 2] ? home[static_cast<int64_t>(key) * V + j + (i / 2) * 8] : 0.f;
    }
  auto write_state = [&](float* to) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = n * 8 + pair + (i & 1);
        if (key < K && mine[i / 2]) to[static_cast<int64_t>(key) * V + j + (i / 2) * 8] = D[n][i];
      }
  };
  const bool by_number = in.g && !w.by_channel;
  auto load = [&](int step) {
    const int64_t c = s.chunks - 1 - step;
    if (c >= 0) {
      const int64_t at = bh * s.chunks + c, token = (s.first + c) * kTokens;
      const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - token));
      const int64_t row = (b * in.positions + token) * H + h;
      char* to = shared + (step % w.stages) * w.stage_bytes;
      if (w.by_channel) {
        for (const void* from : {s.k_to, s.q_from, s.k_from}) {
          copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(from) + at * kTokens * K, K, kTokens, K, kKeys, thread, threads);
          to += w.tile_bytes;
        }
      } else {
        copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.k) + row * K, H * K, rows, K, kKeys, thread, threads);
        to += w.tile_bytes;
        copy_rows(reinterpret_cast<E*>(to), w.pitch, static_cast<const E*>(in.q) + row * K, H * K, rows, K, kKeys, thread, threads);
        to += w.tile_bytes;
      }
      copy_bytes(to, static_cast<const char*>(s.bare) + at * w.block_bytes, w.block_bytes, thread, threads);
      to += w.block_bytes;
      copy_bytes(to, static_cast<const char*>(s.scores) + at * w.block_bytes, w.block_bytes, thread, threads);
      to += w.block_bytes;
      if (by_number) copy_bytes(to, s.decays + at * 2 * kTokens, 2 * kTokens * 4, thread, threads);
      if (w.by_channel)
        for (int i = thread; i < kKeys; i += threads) copy4(to + 4 * i, s.decays + at * K + min(i, K - 1), i < K);
      to += w.decay_bytes;
      for (int i = thread; i < kTokens; i += threads) copy4(to + 4 * i, in.beta + row + (i < rows ? i : 0) * H, i < rows);
      to += kTokens * 4;
      copy_rows(reinterpret_cast<E*>(to), w.v_pitch, static_cast<const E*>(gradient.dz) + row * V + first_column, H * V, rows, min(V - first_column, w.warps * 16), w.warps * 16, thread, threads);
    }
    commit();
  };
  auto by_token = [&](float (&c)[8][4], const float* factor, float more) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 f = *reinterpret_cast<const float2*>(factor + n * 8 + pair);
      c[n][0] *= f.x * more, c[n][1] *= f.y * more, c[n][2] *= f.x * more, c[n][3] *= f.y * more;
    }
  };
  auto add_rows = [&](const float (&x)[8][4], const E* rows) {
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const typename N::A a = N::a_of(x[2 * m], x[2 * m + 1]);
      times_rows<N, kTiles>(D, a, rows + m * 16 * w.pitch, w.pitch, lane);
    }
  };

  for (int i = 0; i < w.stages - 1; ++i) load(i);
  for (int step = 0; step < s.chunks; ++step) {
    const int64_t c = s.chunks - 1 - step, token = (s.first + c) * kTokens, at = bh * s.chunks + c;
    const int rows = static_cast<int>(min(static_cast<int64_t>(kTokens), in.positions - token));
    const int64_t row = (b * in.positions + token) * H + h;
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
    char* const base = shared + (step % w.stages) * w.stage_bytes;
    const E* const ks = reinterpret_cast<const E*>(base);
    const E* const qs = reinterpret_cast<const E*>(base + w.tile_bytes);
    const E* const readers = w.by_channel ? qs + kTokens * w.pitch : ks;
    const char* const bare = base + (w.by_channel ? 3 : 2) * w.tile_bytes;
    const char* const scores = bare + w.block_bytes;
    const float* const decays = reinterpret_cast<const float*>(scores + w.block_bytes);
    const float* const beta = decays + w.decay_bytes / 4;
    E* const values = reinterpret_cast<E*>(base + w.stage_bytes - w.v_bytes) + warp * 16;
    auto write_tile = [&](E* to, int64_t stride, int count, const float (&x)[8][4]) {
      __syncwarp();
#pragma unroll
      for (int n = 0; n < 8; ++n) N::store_turned(values + n * 8 * w.v_pitch, w.v_pitch, x[n], lane);
      __syncwarp();
      store_columns<E>(to + part * 16, stride, count, V - part * 16, values, w.v_pitch, lane);
    };
    write_state(s.ends + at * K * V);

    float o[8][4], dw[8][4] = {}, y[8][4] = {};
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) times_columns<N>(dw, N::a_of(D[2 * k], D[2 * k + 1]), ks + k * 16, w.pitch, lane);
    if (by_number) by_token(dw, decays + kTokens, 1.f);
    typename N::A left[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      N::load_turned(o[2 * n], o[2 * n + 1], values + n * 16 * w.v_pitch, w.v_pitch, lane);
      left[n] = N::a_of(o[2 * n], o[2 * n + 1]);
    }
    times_triangle_turned<N>(dw, left, scores, lane);
#pragma unroll
    for (int n = 0; n < 4; ++n) left[n] = N::a_of(dw[2 * n], dw[2 * n + 1]);
    times_triangle_turned<N>(y, left, bare, lane);
    write_tile(static_cast<E*>(s.answers) + at * kTokens * V, V, kTokens, y);
    by_token(y, beta, 1.f);
    write_tile(static_cast<E*>(gradient.dv) + row * V, H * V, rows, y);
    if (by_number) {
      by_token(y, decays, -1.f);
      by_token(o, decays, scale);
      const float whole = decays[kTokens - 1];
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) D[n][i] *= whole;
    } else {
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) y[n][i] = -y[n][i], o[n][i] *= scale;
    }
    if (w.by_channel)
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const float2 f = *reinterpret_cast<const float2*>(decays + n * 8 + pair);
        D[n][0] *= f.x, D[n][1] *= f.y, D[n][2] *= f.x, D[n][3] *= f.y;
      }
    add_rows(o, qs);
    add_rows(y, readers);
  }
  write_state(home);
}

template <class N, int kKeys>
const char* back_case(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream) {
  int device = 0, most = 0, processors = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (e != cudaSuccess) return sentence(e);
  int warps = static_cast<int>(s.parts < 4 ? s.parts : 4);
  while (warps > 1 && (s.parts + warps - 1) / warps * s.in.batch * s.in.heads * 2 <= processors) warps = (warps + 1) / 2;
  BackShape w;
  for (;; warps = (warps + 1) / 2) {
    int stages = 3;
    do w = back_shape(sizeof(typename N::Element), kKeys, warps, stages, s.in.g_width > 1); while (stages * w.stage_bytes > most && --stages);
    if (stages) break;
    if (warps == 1) return "a chunk does not fit in the shared memory";
  }
  const size_t bytes = static_cast<size_t>(w.stages) * w.stage_bytes;
  e = cudaFuncSetAttribute(back_kernel<N, kKeys>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  const dim3 grid(static_cast<unsigned>((s.parts + warps - 1) / warps), static_cast<unsigned>(s.in.batch * s.in.heads));
  back_kernel<N, kKeys><<<grid, w.warps * 32, bytes, stream>>>(s, gradient, w);
  return sentence(cudaGetLastError());
}

constexpr int kSide = 64;              // channels and columns of d_v at a time

template <class E>
struct FinishRoom {
  static constexpr int kTile = kSide * (kSide + 8);
  float *GA, *GL, *beta, *from, *to, *db, *dbeta, *sums;
  E *dz, *w, *y, *x, *start, *end, *k, *q;
  static constexpr size_t kBytes = 2 * kTokens * kPitch * 4 + 6 * kTokens * 4 + 8 * kTile * sizeof(E);
  __device__ explicit FinishRoom(char* p) {
    GA = reinterpret_cast<float*>(p);
    GL = GA + kTokens * kPitch;
    beta = GL + kTokens * kPitch;
    from = beta + kTokens;
    to = from + kTokens;
    db = to + kTokens;
    dbeta = db + kTokens;
    sums = dbeta + kTokens;            // a number a warp
    dz = reinterpret_cast<E*>(sums + kTokens);
    w = dz + kTile;
    y = w + kTile;
    x = y + kTile;
    start = x + kTile;
    end = start + kTile;
    k = end + kTile;
    q = k + kTile;
  }
};

template <class N>
__global__ void __launch_bounds__(kPrepareThreads) finish_kernel(const Segment s, const ChunkGradient gradient) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const FinishRoom<E> r(shared);
  const Chunk& in = s.in;
  constexpr int P = kSide + 8;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v), thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int64_t H = in.heads;
  const Place p = place_of(s);
  const int64_t row = (p.b * in.positions + p.first_token) * H + p.h, at = p.bh * s.chunks + p.chunk;
  const int t = warp * 16 + (lane >> 2), pair = (lane & 3) * 2;
  const float scale = static_cast<float>(in.scale);
  // exp(b_t - b_s) from b itself, summed as in prepare.
  double* const sums = reinterpret_cast<double*>(r.GA);
  if (in.g && warp == 3) sum_decays(sums, in.g + row, H, p.rows, lane);
  if (thread < kTokens) {
    r.beta[thread] = thread < p.rows ? in.beta[row + thread * H] : 0.f;
    r.from[thread] = in.g ? s.decays[at * 2 * kTokens + thread] : 1.f;
    r.to[thread] = in.g ? s.decays[at * 2 * kTokens + kTokens + thread] : 1.f;
  }
  __syncthreads();
  float decay[8][4];                                    // exp(b_t - b_s) for s <= t, 0 elsewhere
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = n * 8 + pair + (i & 1), to = t + (i / 2) * 8;
      decay[n][i] = column > to ? 0.f : in.g ? decay_of<N>(static_cast<float>(sums[to] - sums[column])) : 1.f;
    }
  auto load_values = [&](int v) {
    const int width = min(kSide, V - v);
    copy_rows(r.dz, P, static_cast<const E*>(gradient.dz) + row * V + v, H * V, p.rows, width, kSide, thread, kPrepareThreads);
    copy_rows(r.w, P, static_cast<const E*>(s.writes) + at * kTokens * V + v, V, kTokens, width, kSide, thread, kPrepareThreads);
    copy_rows(r.y, P, static_cast<const E*>(s.answers) + at * kTokens * V + v, V, kTokens, width, kSide, thread, kPrepareThreads);
    commit();
  };
  float dbeta[2] = {};
  {
    float a[8][4] = {}, l[8][4] = {};
    for (int v = 0; v < V; v += kSide) {
      __syncthreads();
      load_values(v);
      copy_rows(r.x, P, static_cast<const E*>(s.inputs) + at * kTokens * V + v, V, kTokens, min(kSide, V - v), kSide, thread, kPrepareThreads);
      commit();
      wait_for<0>();
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kSide; k += 16) {
        const typename N::A dz = N::a_rows(r.dz + warp * 16 * P + k, P, lane), y = N::a_rows(r.y + warp * 16 * P + k, P, lane);
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          if (block > warp) continue;
          typename N::B right[2];
          N::b_columns(right, r.w + block * 16 * P + k, P, lane);
          N::product(a[2 * block], dz, right[0]);
          N::product(a[2 * block + 1], dz, right[1]);
          N::product(l[2 * block], y, right[0]);
          N::product(l[2 * block + 1], y, right[1]);
        }
      }
      for (int c = lane & 3; c < kSide; c += 4)
#pragma unroll
        for (int half = 0; half < 2; ++half) dbeta[half] += static_cast<float>(r.y[(t + 8 * half) * P + c]) * static_cast<float>(r.x[(t + 8 * half) * P + c]);
    }
    __syncthreads();                                    // sums lie where GA comes
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = n * 8 + pair + (i & 1), to = t + (i / 2) * 8;
        r.GA[to * kPitch + column] = column <= to ? scale * decay[n][i] * a[n][i] : 0.f;
        r.GL[to * kPitch + column] = column < to ? -decay[n][i] * l[n][i] : 0.f;    // without beta
      }
  }
  float db[2] = {}, at_end = 0.f, met = 0.f;            // met: the state before and the gradient of the state after
  for (int k0 = 0; k0 < K; k0 += kSide) {
    const int channels = min(kSide, K - k0);
    float write[8][4] = {}, known[8][4] = {}, read[8][4] = {};
    __syncthreads();
    copy_rows(r.k, P, static_cast<const E*>(in.k) + row * K + k0, H * K, p.rows, channels, kSide, thread, kPrepareThreads);
    copy_rows(r.q, P, static_cast<const E*>(in.q) + row * K + k0, H * K, p.rows, channels, kSide, thread, kPrepareThreads);
    commit();
    for (int v = 0; v < V; v += kSide) {
      if (v) __syncthreads();
      if (V > kSide) load_values(v);
      const int width = min(kSide, V - v);
      const float *const start = s.starts + (at * K + k0) * V + v, *const end = s.ends + (at * K + k0) * V + v;
      for (int i = thread; i < kSide * kSide; i += kPrepareThreads) {
        const int key = i / kSide, c = i % kSide;
        const bool valid = key < channels && c < width;
        const float x = valid ? start[static_cast<int64_t>(key) * V + c] : 0.f, y = valid ? end[static_cast<int64_t>(key) * V + c] : 0.f;
        r.start[key * P + c] = E(x);
        r.end[key * P + c] = E(y);
        met += x * y;
      }
      wait_for<0>();
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kSide; k += 16) {
        const typename N::A w = N::a_rows(r.w + warp * 16 * P + k, P, lane), y = N::a_rows(r.y + warp * 16 * P + k, P, lane), dz = N::a_rows(r.dz + warp * 16 * P + k, P, lane);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          typename N::B right[2];
          N::b_columns(right, r.end + n * 16 * P + k, P, lane);
          N::product(write[2 * n], w, right[0]);
          N::product(write[2 * n + 1], w, right[1]);
          N::b_columns(right, r.start + n * 16 * P + k, P, lane);
          N::product(known[2 * n], y, right[0]);
          N::product(known[2 * n + 1], y, right[1]);
          N::product(read[2 * n], dz, right[0]);
          N::product(read[2 * n + 1], dz, right[1]);
        }
      }
    }
    // Through the state: decays, signs; known without beta.
    const float from[2] = {r.from[t], r.from[t + 8]}, to[2] = {r.to[t], r.to[t + 8]}, beta[2] = {r.beta[t], r.beta[t + 8]};
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        write[n][i] *= to[i / 2];
        known[n][i] *= -from[i / 2];
        read[n][i] *= scale * from[i / 2];
        const float key = static_cast<float>(r.k[(t + (i / 2) * 8) * P + n * 8 + pair + (i & 1)]);
        at_end += write[n][i] * key;
      }
    // What k gets through L as reader is told from what beta gets: both are without beta, but beta's part of the state is in X.
    float inner[8][4] = {};
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      if (m <= warp) {
        float x[2][4], l[2][4];
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int place = (t + 8 * half) * kPitch + m * 16 + n * 8 + pair;
            const float2 f = *reinterpret_cast<const float2*>(r.GA + place), e = *reinterpret_cast<const float2*>(r.GL + place);
            x[n][2 * half] = f.x, x[n][2 * half + 1] = f.y, l[n][2 * half] = e.x, l[n][2 * half + 1] = e.y;
          }
        const typename N::A ga = N::a_of(x[0], x[1]), gl = N::a_of(l[0], l[1]);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          typename N::B right[2];
          N::b_rows(right, r.k + m * 16 * P + n * 16, P, lane);
          N::product(read[2 * n], ga, right[0]);
          N::product(read[2 * n + 1], ga, right[1]);
          N::product(inner[2 * n], gl, right[0]);
          N::product(inner[2 * n + 1], gl, right[1]);
        }
      }
      if (m >= warp) {
        float x[2][4], l[2][4];
        Accurate::load_turned(x[0], x[1], r.GA + m * 16 * kPitch + warp * 16, kPitch, lane);
        Accurate::load_turned(l[0], l[1], r.GL + m * 16 * kPitch + warp * 16, kPitch, lane);
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) l[n][i] *= r.beta[m * 16 + n * 8 + pair + (i & 1)];
        const typename N::A ga = N::a_of(x[0], x[1]), gl = N::a_of(l[0], l[1]);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          typename N::B right[2];
          N::b_rows(right, r.q + m * 16 * P + n * 16, P, lane);
          N::product(write[2 * n], ga, right[0]);
          N::product(write[2 * n + 1], ga, right[1]);
          N::b_rows(right, r.k + m * 16 * P + n * 16, P, lane);
          N::product(write[2 * n], gl, right[0]);
          N::product(write[2 * n + 1], gl, right[1]);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int token = t + 8 * half, channel = n * 8 + pair;
        float dk[2], dq[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int i = 2 * half + e;
          const float key = static_cast<float>(r.k[token * P + channel + e]), query = static_cast<float>(r.q[token * P + channel + e]);
          const float as_reader = beta[half] * (inner[n][i] + known[n][i]);
          dbeta[half] += key * inner[n][i];
          db[half] += query * read[n][i] + key * (as_reader - write[n][i]);
          dk[e] = as_reader + write[n][i];
          dq[e] = read[n][i];
        }
        if (token < p.rows && channel < channels) {
          const int64_t place = (row + token * H) * K + k0 + channel;
          N::store_pair(static_cast<E*>(gradient.dk) + place, dk[0], dk[1], channel + 1 < channels);
          N::store_pair(static_cast<E*>(gradient.dq) + place, dq[0], dq[1], channel + 1 < channels);
        }
      }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      dbeta[half] += __shfl_xor_sync(kAll, dbeta[half], step);
      db[half] += __shfl_xor_sync(kAll, db[half], step);
    }
    const int token = t + 8 * half;
    if ((lane & 3) == 0) {
      r.db[token] = db[half];
      if (gradient.dbeta && token < p.rows) gradient.dbeta[row + token * H] = dbeta[half];
    }
  }
  at_end += r.from[kTokens - 1] * met;
  for (int step = 1; step < 32; step *= 2) at_end += __shfl_xor_sync(kAll, at_end, step);
  if (lane == 0) r.sums[warp] = at_end;
  __syncthreads();
  if (!gradient.dg || warp) return;
  // dg_t: what all b from t on get.
  const int last = 2 * lane + 1;
  float sum = r.db[last] + r.db[last - 1];
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const float after = __shfl_down_sync(kAll, sum, step);
    if (lane + step < 32) sum += after;
  }
  const float end = (r.sums[0] + r.sums[1]) + (r.sums[2] + r.sums[3]), right = __shfl_down_sync(kAll, sum, 1);
  const float dg[2] = {sum + end, (lane < 31 ? right : 0.f) + r.db[last] + end};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int token = 2 * lane + i;
    if (token < p.rows) gradient.dg[row + token * H] = in.g[row + token * H] < -1e4f ? 0.f : dg[i];
  }
}

template <class N>
const char* finish_case(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream) {
  const size_t bytes = FinishRoom<typename N::Element>::kBytes;
  const cudaError_t e = cudaFuncSetAttribute(finish_kernel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  finish_kernel<N><<<dim3(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.in.batch * s.in.heads)), kPrepareThreads, bytes, stream>>>(s, gradient);
  return sentence(cudaGetLastError());
}

template <class N>
const char* back_of(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream) {
  switch (padded_keys(s.in)) {
    case 32: return back_case<N, 32>(s, gradient, stream);
    case 64: return back_case<N, 64>(s, gradient, stream);
    case 128: return back_case<N, 128>(s, gradient, stream);
    default: break;
  }
  // In float32 the registers do not hold it.
  if constexpr (sizeof(typename N::Element) == 2) return back_case<N, 256>(s, gradient, stream);
  else return "no gradients in float32 with d_k > 128";
}

}  // namespace microtome::kernels::delta
