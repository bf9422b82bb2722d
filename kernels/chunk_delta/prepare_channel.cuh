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

__device__ __forceinline__ float2 pair_at(const float* p) { return *reinterpret_cast<const float2*>(p); }

template <class N>
__global__ void __launch_bounds__(kPrepareThreads, 3) prepare_channel(const Segment s) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const Chunk& in = s.in;
  const int K = static_cast<int>(in.d_k), group = static_cast<int>(in.group);
  constexpr int kSize = kTokens * kChannelPitch;
  float* const beta = reinterpret_cast<float*>(shared);
  float* const totals = beta + kTokens;                 // [4][kChannels]: sums of g over a block
  // Keys and queries times exp of the sum of g from their block's start to them; keys times the inverse of that, and times exp of
  // the sum from them to their block's end.
  float* const ks = totals + 4 * kChannels;
  float *const qs = ks + kSize, *const inverse = qs + kSize, *const behind = inverse + kSize;
  // With one query head the matrices come when the channels are through.
  float* const L = group == 1 ? ks : behind + kSize;
  float* const M = L + kTokens * kPitch;
  const Place p = place_of(s);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int64_t row = (p.b * in.positions + p.first_token) * in.heads + p.h, at = p.bh * s.chunks + p.chunk;
  const bool read = in.z || in.pattern || s.backward;
  const int t = warp * 16 + (lane >> 2), pair = (lane & 3) * 2;
  if (thread < kTokens) beta[thread] = thread < p.rows ? in.beta[row + thread * in.heads] : 0.f;

  for (int m = 0; m < (read ? group : 1); ++m) {
    float kk[8][4] = {}, qk[8][4] = {};
    for (int first = 0; first < K; first += kChannels) {
      __syncthreads();
      const int channel = first + lane;
      bool narrow;
      {
        // A thread a block of tokens and channel.
        float g[16], k[16], q[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          const int64_t token = row + (warp * 16 + i) * in.heads;
          const bool valid = warp * 16 + i < p.rows && channel < K;
          g[i] = valid ? bounded(in.g[token * K + channel]) : 0.f;
          k[i] = valid ? static_cast<float>(static_cast<const E*>(in.k)[token * K + channel]) : 0.f;
          q[i] = valid && read ? static_cast<float>(static_cast<const E*>(in.q)[(token * group + m) * K + channel]) : 0.f;
        }
        float sum = 0.f, size = 0.f;
        const int place = warp * 16 * kChannelPitch + lane;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          sum += g[i];
          size += fabsf(g[i]);
          const float decay = decay_of<N>(sum);
          ks[place + i * kChannelPitch] = k[i] * decay;
          qs[place + i * kChannelPitch] = q[i] * decay;
          inverse[place + i * kChannelPitch] = k[i] * decay_of<N>(-sum);
        }
        totals[warp * kChannels + lane] = sum;
        sum = 0.f;
#pragma unroll
        for (int i = 15; i >= 0; --i) {
          behind[place + i * kChannelPitch] = k[i] * decay_of<N>(sum);
          sum += g[i];
        }
        narrow = __all_sync(kAll, size <= N::kRange);
      }
      __syncthreads();
      {
        float before = 0.f, after = 0.f;
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const float total = totals[n * kChannels + lane];
          if (n < warp) before += total;
          if (n > warp) after += total;
        }
        if (m == 0 && warp == 0 && channel < K) s.decays[at * K + channel] = expf(totals[lane] + after);
        before = decay_of<N>(before), after = decay_of<N>(after);
        if (channel < K)
#pragma unroll
          for (int i = 0; i < 16; ++i) {
            const int place = (warp * 16 + i) * kChannelPitch + lane;
            const int64_t token = at * kTokens + warp * 16 + i;
            if (m == 0) {
              static_cast<E*>(s.k_from)[token * K + channel] = E(ks[place] * before);
              static_cast<E*>(s.k_to)[token * K + channel] = E(behind[place] * after);
            }
            if (in.z || s.backward) static_cast<E*>(s.q_from)[((at * group + m) * kTokens + warp * 16 + i) * K + channel] = E(qs[place] * before);
          }
      }
#pragma unroll 1
      for (int k = 0; k < kChannels; k += 16) {
        float left[2][2][4];                            // keys and queries, two tiles of 8 channels
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int place = (t + 8 * half) * kChannelPitch + k + 8 * n + pair;
            const float2 key = pair_at(ks + place), query = pair_at(qs + place);
            left[0][n][2 * half] = key.x, left[0][n][2 * half + 1] = key.y;
            left[1][n][2 * half] = query.x, left[1][n][2 * half + 1] = query.y;
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
          for (int half = 0; half < 2; ++half) between[half].x = decay_of<N>(between[half].x), between[half].y = decay_of<N>(between[half].y);
          typename N::B b[2];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            float2 right[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const int place = (block * 16 + 8 * n + (lane >> 2)) * kChannelPitch + k + 8 * half + pair;
              right[half] = pair_at((block == warp ? inverse : behind) + place);
              right[half].x *= between[half].x, right[half].y *= between[half].y;
            }
            b[n] = N::b_of(right[0], right[1]);
          }
          if (m == 0) N::template products<2>(kk + 2 * block, a, b);
          if (read) N::template products<2>(qk + 2 * block, aq, b);
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
              for (int c = first; c < min(first + kChannels, K); ++c) {
                if (to >= p.rows) break;
                float g = 0.f;
                for (int i = from + 1; i <= to; ++i) g += bounded(in.g[(row + i * in.heads) * K + c]);
                const float key = static_cast<float>(static_cast<const E*>(in.k)[(row + from * in.heads) * K + c]) * decay_of<N>(g);
                sum_k += static_cast<float>(static_cast<const E*>(in.k)[(row + to * in.heads) * K + c]) * key;
                if (read) sum_q += static_cast<float>(static_cast<const E*>(in.q)[((row + to * in.heads) * group + m) * K + c]) * key;
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
      if (s.bare) store_solve<N>(static_cast<char*>(s.bare) + at * kBlocks * N::kBlock, M, nullptr, warp, lane);
    }
    if (!read) continue;
    store_scores<N>(s, at, m, qk, warp, lane);
    if (in.pattern) store_pattern(s, p, m, qk, M, beta, warp, lane);
  }
}

template <class N>
const char* prepare_channel_case(const Segment& s, cudaStream_t stream) {
  const size_t tiles = 4 * kTokens * kChannelPitch * sizeof(float), matrices = 2 * kTokens * kPitch * sizeof(float);
  const size_t bytes = (kTokens + 4 * kChannels) * sizeof(float) + (s.in.group == 1 ? (tiles > matrices ? tiles : matrices) : tiles + matrices);
  const cudaError_t e = cudaFuncSetAttribute(prepare_channel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e != cudaSuccess) return sentence(e);
  prepare_channel<N><<<dim3(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.in.batch * s.in.heads)), kPrepareThreads, bytes, stream>>>(s);
  return sentence(cudaGetLastError());
}

}  // namespace microtome::kernels::delta
