// prepare_channel.cuh — T and A of a chunk where every key channel has a decay of its own, and the keys and queries that contain
// the decays.
//
// A score is sum_i q_ti k_si exp(b_ti - b_si). Rows t of one block of 16 tokens see all s through the border r before the block,
// q exp(b_t - r) times k exp(r - b_s): both are at most 1 for s in earlier blocks; within the block the second one grows as the
// block's decays, so that a block in which they exceed N::kRange is done pair by pair. Sums of decays are never differences of sums.
#pragma once

#include "kernels/chunk_delta/prepare.cuh"

namespace microtome::kernels::delta {

constexpr int kChannels = 32, kChannelPitch = kChannels + 8;

template <class N>
__device__ __forceinline__ float decay_of(float x) {
  return N::kExact ? expf(x) : __expf(x);
}

__device__ __forceinline__ float2 pair_at(const float* p) { return *reinterpret_cast<const float2*>(p); }

template <class N>
__global__ void __launch_bounds__(kPrepareThreads) prepare_channel(const Segment s) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  const int K = static_cast<int>(in.d_k), group = static_cast<int>(in.group);
  constexpr int kSize = kTokens * kChannelPitch;
  float* const beta = reinterpret_cast<float*>(shared);
  float* const totals = beta + kTokens;                 // [4][kChannels]: sums of g over a block
  float* const ks = totals + 4 * kChannels;
  float *const qs = ks + kSize, *const gs = qs + kSize, *const ahead = gs + kSize, *const behind = ahead + kSize;
  // With one query head the matrices come when the channels are through.
  float* const L = group == 1 ? ks : behind + kSize;
  float* const M = L + kTokens * kPitch;
  const Place p = place_of(s);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int64_t row = (p.b * in.positions + p.first_token) * in.heads + p.h, at = p.bh * s.chunks + p.chunk;
  const bool read = in.z || in.pattern;
  const int t = warp * 16 + (lane >> 2), pair = (lane & 3) * 2;
  if (thread < kTokens) beta[thread] = thread < p.rows ? in.beta[row + thread * in.heads] : 0.f;

  for (int m = 0; m < (read ? group : 1); ++m) {
    float kk[8][4] = {}, qk[8][4] = {};
    for (int first = 0; first < K; first += kChannels) {
      __syncthreads();
      for (int i = thread; i < kTokens * kChannels; i += kPrepareThreads) {
        const int token = i / kChannels, c = i % kChannels;
        const bool valid = token < p.rows && first + c < K;
        const int64_t from = (row + token * in.heads) * K + first + c, q_from = ((row + token * in.heads) * group + m) * K + first + c;
        ks[token * kChannelPitch + c] = valid ? static_cast<float>(static_cast<const E*>(in.k)[from]) : 0.f;
        qs[token * kChannelPitch + c] = valid && read ? static_cast<float>(static_cast<const E*>(in.q)[q_from]) : 0.f;
        gs[token * kChannelPitch + c] = valid ? bounded(in.g[from]) : 0.f;
      }
      __syncthreads();
      bool narrow;
      {
        // A thread a block and channel: sums up to a token (with it) and after it.
        float* const g = gs + warp * 16 * kChannelPitch + lane;
        float sum = 0.f, size = 0.f;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          sum += g[i * kChannelPitch];
          size += fabsf(g[i * kChannelPitch]);
          ahead[(warp * 16 + i) * kChannelPitch + lane] = sum;
        }
        totals[warp * kChannels + lane] = sum;
        sum = 0.f;
#pragma unroll
        for (int i = 15; i >= 0; --i) {
          behind[(warp * 16 + i) * kChannelPitch + lane] = sum;
          sum += g[i * kChannelPitch];
        }
        narrow = __all_sync(kAll, size <= N::kRange);
      }
      __syncthreads();
      // Keys and queries with their decays, a thread two channels of a token.
      for (int i = thread; i < kTokens * kChannels / 2; i += kPrepareThreads) {
        const int token = i / (kChannels / 2), c = i % (kChannels / 2) * 2, block = token / 16;
        if (first + c >= K) continue;
        float2 from = pair_at(ahead + token * kChannelPitch + c), to = pair_at(behind + token * kChannelPitch + c);
        for (int n = 0; n < 4; ++n) {
          const float2 total = pair_at(totals + n * kChannels + c);
          if (n < block) from.x += total.x, from.y += total.y;
          if (n > block) to.x += total.x, to.y += total.y;
        }
        from.x = decay_of<N>(from.x), from.y = decay_of<N>(from.y);
        const bool both = first + c + 1 < K;
        if (m == 0) {
          to.x = decay_of<N>(to.x), to.y = decay_of<N>(to.y);
          const float2 k = pair_at(ks + token * kChannelPitch + c);
          const int64_t place = (at * kTokens + token) * K + first + c;
          N::store_pair(static_cast<E*>(s.k_from) + place, k.x * from.x, k.y * from.y, both);
          N::store_pair(static_cast<E*>(s.k_to) + place, k.x * to.x, k.y * to.y, both);
        }
        if (in.z) {
          const float2 q = pair_at(qs + token * kChannelPitch + c);
          N::store_pair(static_cast<E*>(s.q_from) + ((at * group + m) * kTokens + token) * K + first + c, q.x * from.x, q.y * from.y, both);
        }
      }
      if (m == 0 && thread < kChannels && first + thread < K) {
        const float all = (totals[thread] + totals[kChannels + thread]) + (totals[2 * kChannels + thread] + totals[3 * kChannels + thread]);
        s.decays[at * K + first + thread] = expf(all);
      }
#pragma unroll 1
      for (int k = 0; k < kChannels; k += 16) {
        float left[2][2][4];                            // keys and queries, two tiles of 8 channels
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int place = (t + 8 * half) * kChannelPitch + k + 8 * n + pair;
            float2 f = pair_at(ahead + place);
            f.x = decay_of<N>(f.x), f.y = decay_of<N>(f.y);
            const float2 key = pair_at(ks + place), query = pair_at(qs + place);
            left[0][n][2 * half] = key.x * f.x, left[0][n][2 * half + 1] = key.y * f.y;
            left[1][n][2 * half] = query.x * f.x, left[1][n][2 * half + 1] = query.y * f.y;
          }
        const typename N::A a = N::a_of(left[0][0], left[0][1]), aq = N::a_of(left[1][0], left[1][1]);
#pragma unroll
        for (int block = 3; block >= 0; --block) {
          if (block > warp || (block == warp && !narrow)) continue;
          float2 between[2] = {};                       // of the blocks between the two, for this thread's channels
          for (int n = block + 1; n < warp; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const float2 total = pair_at(totals + n * kChannels + k + 8 * half + pair);
              between[half].x += total.x, between[half].y += total.y;
            }
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            float2 right[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const int place = (block * 16 + 8 * n + (lane >> 2)) * kChannelPitch + k + 8 * half + pair;
              float2 f = pair_at((block == warp ? ahead : behind) + place);
              if (block == warp) f.x = -f.x, f.y = -f.y;
              else f.x += between[half].x, f.y += between[half].y;
              const float2 key = pair_at(ks + place);
              right[half] = make_float2(key.x * decay_of<N>(f.x), key.y * decay_of<N>(f.y));
            }
            const typename N::B b = N::b_of(right[0], right[1]);
            if (m == 0) N::product(kk[2 * block + n], a, b);
            if (read) N::product(qk[2 * block + n], aq, b);
          }
        }
      }
      if (!narrow) {
        // Pair by pair; a thread the eight pairs that it holds.
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          if (block != warp) continue;
#pragma unroll
          for (int n = 0; n < 2; ++n)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const int to = t + (j / 2) * 8, from = block * 16 + n * 8 + pair + (j & 1);
              if (from > to) continue;
              float sum_k = 0.f, sum_q = 0.f;
              for (int c = 0; c < kChannels; ++c) {
                float g = 0.f;
                for (int i = from + 1; i <= to; ++i) g += gs[i * kChannelPitch + c];
                const float key = ks[from * kChannelPitch + c] * decay_of<N>(g);
                sum_k += ks[to * kChannelPitch + c] * key;
                sum_q += qs[to * kChannelPitch + c] * key;
              }
              kk[2 * block + n][j] += sum_k;
              qk[2 * block + n][j] += sum_q;
            }
        }
      }
    }
    if (m == 0) {
      __syncthreads();
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        if (n / 2 > warp) continue;
        const int column = n * 8 + pair;
        const float up = beta[t], down = beta[t + 8];
        *reinterpret_cast<float2*>(L + t * kPitch + column) = make_float2(column < t ? up * kk[n][0] : 0.f, column + 1 < t ? up * kk[n][1] : 0.f);
        *reinterpret_cast<float2*>(L + (t + 8) * kPitch + column) = make_float2(column < t + 8 ? down * kk[n][2] : 0.f, column + 1 < t + 8 ? down * kk[n][3] : 0.f);
      }
      __syncwarp();
      invert(L, M, warp, lane);
      store_solve<N>(static_cast<char*>(s.solve) + at * kBlocks * N::kBlock, M, beta, warp, lane);
    }
    if (read) store_scores<N>(s, p, at, m, qk, M, beta, warp, lane);
  }
}

template <class N>
const char* prepare_channel_case(const Segment& s, cudaStream_t stream) {
  const size_t tiles = 5 * kTokens * kChannelPitch * sizeof(float), matrices = 2 * kTokens * kPitch * sizeof(float);
  const size_t bytes = (kTokens + 4 * kChannels) * sizeof(float) + (s.in.group == 1 ? (tiles > matrices ? tiles : matrices) : tiles + matrices);
  const cudaError_t e = cudaFuncSetAttribute(prepare_channel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  prepare_channel<N><<<dim3(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.in.batch * s.in.heads)), kPrepareThreads, bytes, stream>>>(s);
  return sentence(cudaGetLastError());
}

}  // namespace microtome::kernels::delta
