// prepare.cuh — T and A of a chunk: a block of four warps a chunk, a warp 16 rows.
#pragma once

#include "kernels/chunk_delta/steps.h"
#include "kernels/chunk_delta/tiles.cuh"

namespace microtome::kernels::delta {

constexpr int kPitch = 72;             // floats a row of the 64 x 64 matrices in shared memory
constexpr int kPrepareThreads = 128;
using Accurate = Single<true>;

// (I + L)^-1 of the part of L below the diagonal, into M (its lower triangle of 16 x 16 blocks). Warp w makes the diagonal block
// w by substitution and then the column of blocks below it, turned: N_i = M_iw^T = -(sum_m N_m L_im^T) M_ii^T. All 128 threads.
__device__ __forceinline__ void invert(const float* L, float* M, int warp, int lane) {
  {
    const float* at = L + warp * 16 * (kPitch + 1);
    float x[16];
    const int column = lane & 15;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float part[4] = {};                               // four sums, since each addition waits for the one before
#pragma unroll
      for (int m = 0; m < i; m += 4) {
        const float4 l = *reinterpret_cast<const float4*>(at + i * kPitch + m);
        part[0] += l.x * x[m];
        if (m + 1 < i) part[1] += l.y * x[m + 1];
        if (m + 2 < i) part[2] += l.z * x[m + 2];
        if (m + 3 < i) part[3] += l.w * x[m + 3];
      }
      const float sum = (part[0] + part[1]) + (part[2] + part[3]);
      x[i] = i == column ? 1.f : i < column ? 0.f : -sum;
    }
    if (lane < 16)
#pragma unroll
      for (int i = 0; i < 16; ++i) M[(warp * 16 + i) * kPitch + warp * 16 + column] = x[i];
  }
  __syncthreads();
  Accurate::A column[3];                                // N_m as left sides, m = warp + i
  float x[4], y[4];
  {
    const float* own = M + warp * 16 * (kPitch + 1);
    Accurate::load_turned(x, y, own, kPitch, lane);     // rows are M's columns
    column[0] = Accurate::a_of(x, y);
  }
#pragma unroll
  for (int i = 1; i < 4; ++i) {
    const int row = warp + i;
    if (row < 4) {
      float sum[2][4] = {};
#pragma unroll
      for (int m = 0; m < i; ++m) {
        Accurate::B b[2];
        Accurate::b_columns(b, L + row * 16 * kPitch + (warp + m) * 16, kPitch, lane);
        Accurate::products<2>(sum, column[m], b);
      }
      const Accurate::A a = Accurate::a_of(sum[0], sum[1]);
      Accurate::B b[2];
      Accurate::b_columns(b, M + row * 16 * (kPitch + 1), kPitch, lane);
      float n[2][4] = {};
      Accurate::products<2>(n, a, b);
#pragma unroll
      for (int j = 0; j < 4; ++j) n[0][j] = -n[0][j], n[1][j] = -n[1][j];
      if (i < 3) column[i] = Accurate::a_of(n[0], n[1]);
      float* to = M + row * 16 * kPitch + warp * 16;
      Accurate::store_turned(to, kPitch, n[0], lane);
      Accurate::store_turned(to + 8 * kPitch, kPitch, n[1], lane);
    }
  }
  __syncthreads();
}

// Rows of T = M diag(beta) in fragment order; without beta, of M.
template <class N>
__device__ __forceinline__ void store_solve(char* to, const float* M, const float* beta, int warp, int lane) {
  for (int s = 0; s <= warp; ++s) {
    float tile[2][4];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int column = s * 16 + n * 8 + (lane & 3) * 2;
      const float2 up = *reinterpret_cast<const float2*>(M + (warp * 16 + (lane >> 2)) * kPitch + column);
      const float2 down = *reinterpret_cast<const float2*>(M + (warp * 16 + 8 + (lane >> 2)) * kPitch + column);
      const float2 b = beta ? *reinterpret_cast<const float2*>(beta + column) : make_float2(1.f, 1.f);
      tile[n][0] = up.x * b.x, tile[n][1] = up.y * b.y, tile[n][2] = down.x * b.x, tile[n][3] = down.y * b.y;
    }
    N::store_block(to + block_at(warp, s) * N::kBlock, tile[0], tile[1], lane);
  }
}

struct Place {
  int64_t b, h, bh, chunk, first_token;
  int rows;                            // tokens of the chunk
};

__device__ __forceinline__ Place place_of(const Segment& s) {
  Place p;
  p.bh = blockIdx.y;
  p.b = p.bh / s.in.heads;
  p.h = p.bh % s.in.heads;
  p.chunk = blockIdx.x;
  p.first_token = (s.first + p.chunk) * kTokens;
  p.rows = static_cast<int>(min(static_cast<int64_t>(kTokens), s.in.positions - p.first_token));
  return p;
}

template <class N>
__device__ __forceinline__ float decay_of(float x) {
  return N::kExact ? expf(x) : __expf(x);
}

__device__ __forceinline__ float bounded(float g) { return g < -1e4f ? -1e4f : g; }   // NaN passes

// Sums of g up to each of 64 tokens, by one warp.
__device__ __forceinline__ void sum_decays(double* sums, const float* g, int64_t stride, int rows, int lane) {
  const int t = 2 * lane;
  const double x = t < rows ? static_cast<double>(bounded(g[t * stride])) : 0., y = t + 1 < rows ? static_cast<double>(bounded(g[(t + 1) * stride])) : 0.;
  double sum = x + y;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const double before = __shfl_up_sync(kAll, sum, step);
    if (lane >= step) sum += before;
  }
  const double left = __shfl_up_sync(kAll, sum, 1);
  sums[t] = (lane ? left : 0.) + x;
  sums[t + 1] = sum;
}

// A of one query head from its products.
__device__ __forceinline__ void finish_scores(const Segment& s, float (&c)[8][4], int warp, int lane) {
  const int t = warp * 16 + (lane >> 2);
  const float scale = static_cast<float>(s.in.scale);
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = n * 8 + (lane & 3) * 2 + (j & 1);
      c[n][j] = column <= t + (j / 2) * 8 ? c[n][j] * scale : 0.f;
    }
}

template <class N>
__device__ __forceinline__ void store_scores(const Segment& s, int64_t at, int m, float (&c)[8][4], int warp, int lane) {
  finish_scores(s, c, warp, lane);
  char* const to = static_cast<char*>(s.scores) + (at * s.in.group + m) * kBlocks * N::kBlock;
#pragma unroll
  for (int block = 0; block < 4; ++block)
    if (block <= warp) N::store_block(to + block_at(warp, block) * N::kBlock, c[2 * block], c[2 * block + 1], lane);
}

// The implied pattern of a chunk's own tokens, rows of warp: A T.
__device__ __forceinline__ void store_pattern(const Segment& s, const Place& p, int head, const float (&a)[8][4], const float* M, const float* beta, int warp, int lane) {
  const int64_t group = s.in.group, chunks = (s.in.positions + kTokens - 1) / kTokens;
  float* const to = s.in.pattern + ((p.bh * group + head) * chunks + s.first + p.chunk) * kTokens * kTokens;
  float x[8][4] = {};
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    if (m > warp) continue;
    const Accurate::A left = Accurate::a_of(a[2 * m], a[2 * m + 1]);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if (n > m) continue;
      Accurate::B b[2];
      Accurate::b_rows(b, M + m * 16 * kPitch + n * 16, kPitch, lane);
      Accurate::products<2>(x + 2 * n, left, b);
    }
  }
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int t = warp * 16 + (lane >> 2), column = n * 8 + (lane & 3) * 2;
    const float2 b = *reinterpret_cast<const float2*>(beta + column);
    float2* up = reinterpret_cast<float2*>(to + t * kTokens + column);
    float2* down = reinterpret_cast<float2*>(to + (t + 8) * kTokens + column);
    const bool first = column <= t, second = column + 1 <= t, third = column <= t + 8, fourth = column + 1 <= t + 8;
    *up = make_float2(first ? x[n][0] * b.x : 0.f, second ? x[n][1] * b.y : 0.f);
    *down = make_float2(third ? x[n][2] * b.x : 0.f, fourth ? x[n][3] * b.y : 0.f);
  }
}

// No decay, or a number a token.
template <class N>
__global__ void __launch_bounds__(kPrepareThreads, 4) prepare_plain(const Segment s) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  const int K = static_cast<int>(in.d_k), columns = (K + 15) / 16 * 16, pitch = columns + 8, group = static_cast<int>(in.group);
  float* const L = reinterpret_cast<float*>(shared);
  double* const sums = reinterpret_cast<double*>(L + kTokens * kPitch);
  float* const beta = reinterpret_cast<float*>(sums + kTokens);
  E* const ks = reinterpret_cast<E*>(beta + kTokens);
  E* const qs = ks + kTokens * pitch;
  // The inverse comes where keys and queries were, unless these are read again.
  float* const M = reinterpret_cast<float*>(in.pattern ? qs + kTokens * pitch : ks);
  const Place p = place_of(s);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int64_t row = (p.b * in.positions + p.first_token) * in.heads + p.h;
  const bool read = in.z || in.pattern || s.backward;

  copy_rows(ks, pitch, static_cast<const E*>(in.k) + row * K, in.heads * K, p.rows, K, columns, thread, kPrepareThreads);
  commit();
  auto load_queries = [&](int m) {
    copy_rows(qs, pitch, static_cast<const E*>(in.q) + (row * group + m) * K, in.heads * group * K, p.rows, K, columns, thread, kPrepareThreads);
    commit();
  };
  if (read) load_queries(0);
  if (thread < kTokens) beta[thread] = thread < p.rows ? in.beta[row + thread * in.heads] : 0.f;
  if (in.g && warp == 2) sum_decays(sums, in.g + row, in.heads, p.rows, lane);
  if (read) wait_for<1>(); else wait_for<0>();
  __syncthreads();
  const int64_t at = p.bh * s.chunks + p.chunk;
  if (in.g && thread < kTokens) {
    s.decays[at * 2 * kTokens + thread] = expf(static_cast<float>(sums[thread]));
    s.decays[at * 2 * kTokens + kTokens + thread] = expf(static_cast<float>(sums[kTokens - 1] - sums[thread]));
  }
  const int t = warp * 16 + (lane >> 2);
  double bt[2] = {};
  if (in.g) bt[0] = sums[t], bt[1] = sums[t + 8];
  float decay[8][4];                                    // exp(b_t - b_s) of this thread's s <= t
  if (in.g)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = n * 8 + (lane & 3) * 2 + (j & 1);
        decay[n][j] = n / 2 <= warp && column <= t + (j / 2) * 8 ? decay_of<N>(static_cast<float>(bt[j / 2] - sums[column])) : 0.f;
      }
  // Rows of `from` times all keys up to them, with the decay between the two.
  auto scores = [&](float (&c)[8][4], const E* from) {
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) c[n][j] = 0.f;
    for (int k = 0; k < columns; k += 16) {
      const typename N::A a = N::a_rows(from + warp * 16 * pitch + k, pitch, lane);
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        if (block > warp) continue;
        typename N::B b[2];
        N::b_columns(b, ks + block * 16 * pitch + k, pitch, lane);
        N::template products<2>(c + 2 * block, a, b);
      }
    }
    if (!in.g) return;
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) c[n][j] *= decay[n][j];
  };
  {
    float c[8][4];
    scores(c, ks);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (n / 2 > warp) continue;
      const int column = n * 8 + (lane & 3) * 2;
      const float up = beta[t], down = beta[t + 8];
      *reinterpret_cast<float2*>(L + t * kPitch + column) = make_float2(column < t ? up * c[n][0] : 0.f, column + 1 < t ? up * c[n][1] : 0.f);
      *reinterpret_cast<float2*>(L + (t + 8) * kPitch + column) = make_float2(column < t + 8 ? down * c[n][2] : 0.f, column + 1 < t + 8 ? down * c[n][3] : 0.f);
    }
  }
  auto each_head = [&](bool again, auto use) {
    for (int m = 0; m < group; ++m) {
      if (m || again) {
        __syncthreads();
        load_queries(m);
      }
      wait_for<0>();
      __syncthreads();
      float c[8][4];
      scores(c, qs);
      use(m, c);
    }
  };
  if (read) each_head(false, [&](int m, float (&c)[8][4]) { store_scores<N>(s, at, m, c, warp, lane); });
  __syncthreads();
  invert(L, M, warp, lane);
  store_solve<N>(static_cast<char*>(s.solve) + at * kBlocks * N::kBlock, M, beta, warp, lane);
  if (s.bare) store_solve<N>(static_cast<char*>(s.bare) + at * kBlocks * N::kBlock, M, nullptr, warp, lane);
  if (in.pattern) each_head(true, [&](int m, float (&c)[8][4]) {
    finish_scores(s, c, warp, lane);
    store_pattern(s, p, m, c, M, beta, warp, lane);
  });
}

template <class N>
size_t prepare_bytes(const Chunk& in) {
  const int pitch = static_cast<int>(round_up(in.d_k, 16)) + 8;
  const size_t matrix = kTokens * kPitch * sizeof(float), tiles = 2 * kTokens * pitch * sizeof(typename N::Element);
  return matrix + kTokens * (sizeof(double) + sizeof(float)) + (in.pattern ? tiles + matrix : tiles > matrix ? tiles : matrix);
}

template <class N>
const char* prepare_case(const Segment& s, cudaStream_t stream) {
  const size_t bytes = prepare_bytes<N>(s.in);
  const cudaError_t e = cudaFuncSetAttribute(prepare_plain<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  prepare_plain<N><<<dim3(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.in.batch * s.in.heads)), kPrepareThreads, bytes, stream>>>(s);
  return sentence(cudaGetLastError());
}

}  // namespace microtome::kernels::delta
