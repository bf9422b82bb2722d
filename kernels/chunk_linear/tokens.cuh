// What is done token by token: decays by channel before a chunk, chunks whose gates are too strong for products, notes.
#pragma once

#include "kernels/chunk_linear/block.cuh"

namespace microtome::kernels::chunk_linear {

// Decays by channel become products since the chunk's start; q, k (or v) carry them. False: too far apart for that.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ bool Block<E, kKeys, kHalves, kTiles, kDecay>::prepare(int c) const {
  constexpr int W = Place::kGateWidth ? Place::kGateWidth : 1, kSubs = kThreads / W, kTokens = kChunk / (kSubs ? kSubs : 1);
  float* tile = gate_tile(c);
  float* products = reinterpret_cast<float*>(rest);
  const int channel = static_cast<int>(threadIdx.x) % W, sub = static_cast<int>(threadIdx.x) / W, first = sub * kTokens;
  float far = 0, f = 1;
#pragma unroll 8
  for (int i = 0; i < kTokens; ++i) far += fabsf(tile[(first + i) * W + channel]);
  if (!__syncthreads_and(far <= kMostDecay / kSubs)) return false;
#pragma unroll 8
  for (int i = 0; i < kTokens; ++i) {
    float* at = tile + (first + i) * W + channel;
    f *= exponential<E>(*at);
    *at = f;
  }
  if constexpr (kSubs > 1) {
    products[sub * W + channel] = f;
    __syncthreads();
  }
  float before = 1;
  for (int i = 0; i < sub; ++i) before *= products[i * W + channel];
  Type *queries = stage(c, Place::kQ) + channel, *keys = stage(c, Place::kK) + channel, *values = stage(c, Place::kV) + channel;
#pragma unroll 4
  for (int i = 0; i < kTokens; ++i) {
    const int row = first + i;
    float* at = tile + row * W + channel;
    const float now = before * *at, back = 1.f / now;
    *at = now;
    if constexpr (kDecay == kRows) {
      if (q) queries[row * Place::kRowPitch] = from_float<E>(to_float<E>(queries[row * Place::kRowPitch]) * now);
      keys[row * Place::kRowPitch] = from_float<E>(to_float<E>(keys[row * Place::kRowPitch]) * back);
    } else {
      values[row * Place::kColumnPitch] = from_float<E>(to_float<E>(values[row * Place::kColumnPitch]) * back);
    }
  }
  __syncthreads();
  return true;
}

// A chunk token by token, in float32: right for any gate.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ void Block<E, kKeys, kHalves, kTiles, kDecay>::token_by_token(int c) {
  constexpr int W = Place::kGateWidth, kTogether = 8;
  const Type *queries = stage(c, Place::kQ), *keys = stage(c, Place::kK), *values = stage(c, Place::kV);
  float* tile = gate_tile(c);
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * W; i += kThreads) tile[i] = expf(gate_of(tile[i]));
  __syncthreads();
  float* join = reinterpret_cast<float*>(rest + Place::kRest);
  const int count = min(kChunk, p.positions - c * kChunk), Q = p.heads * p.group;
  for (int from = 0; from < count; from += kTogether) {
    const int to = min(count, from + kTogether);
    for (int s = from; s < to; ++s) {
      float sum[kTiles][2] = {};
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int row = row_of(i) + 8 * e;
          const float key = to_float<E>(keys[s * Place::kRowPitch + row]), query = q ? to_float<E>(queries[s * Place::kRowPitch + row]) : 0.f;
          const float a = kDecay == kRows ? tile[s * W + row] : 1.f;
#pragma unroll
          for (int j = 0; j < kTiles; ++j)
#pragma unroll
            for (int f = 0; f < 2; ++f) {
              const float value = to_float<E>(values[s * Place::kColumnPitch + column_of(j) + f]);
              const float b = kDecay == kColumns ? tile[s * W + column_of(j) + f] : a;
              float& x = S[i][j][2 * e + f];
              x = b * x + key * value;
              sum[j][f] += query * x;
            }
        }
      if (p.kept && first_of_group) {
        const int slot = static_cast<int>(p.slots[c * kChunk + s]);
        if (slot >= 0) store(kept_place(slot), S);
      }
      if (!q) continue;
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          float x = sum[j][f];
          x += __shfl_xor_sync(0xffffffffu, x, 4);
          x += __shfl_xor_sync(0xffffffffu, x, 8);
          x += __shfl_xor_sync(0xffffffffu, x, 16);
          if (g == 0) join[((s - from) * 4 + rows) * Place::kColumnsHere + column_of(j) + f] = x;
        }
    }
    if (!q) continue;
    __syncthreads();
    for (int i = warp; i < to - from; i += kWarps) {
      const int at = c * kChunk + from + i, token = p.reverse ? p.positions - 1 - at : at;
      const int64_t row = (static_cast<int64_t>(batch) * p.positions + token) * Q + query_head;
      float squares = 0;
      for (int col = lane; col < width; col += 32) {
        const float* x = join + i * 4 * Place::kColumnsHere + col;
        const float z = ((x[0] + x[Place::kColumnsHere]) + (x[2 * Place::kColumnsHere] + x[3 * Place::kColumnsHere])) * p.scale;
        squares += z * z;
        if (p.z_float || E::kWide) static_cast<float*>(p.z)[row * p.d_v + column + col] = z;
        else static_cast<Type*>(p.z)[row * p.d_v + column + col] = from_float<E>(z);
      }
      if (p.read_squares) {
#pragma unroll
        for (int step = 16; step; step /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, step);
        if (lane < kHalves) p.read_squares[(static_cast<int64_t>(kHalves * part + lane) * p.batch * p.positions) * Q + row] = lane ? 0.f : squares;
      }
    }
    __syncthreads();
  }
  if (p.pattern && part == 0 && q) slow_pattern(c);
}
// The same for the pattern: thread s has the key of token s and lets it decay from token to token, eight channels at a time.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ void Block<E, kKeys, kHalves, kTiles, kDecay>::slow_pattern(int c) const {
  constexpr int W = Place::kGateWidth;
  for (int s = static_cast<int>(threadIdx.x) / 4; s < kChunk; s += kThreads / 4) {
  const int quarter = static_cast<int>(threadIdx.x) % 4;
  const int all = (p.positions + kChunk - 1) / kChunk;
  const int count = min(kChunk, p.positions - c * kChunk);
  const Type *queries = stage(c, Place::kQ), *keys = stage(c, Place::kK);
  const float* tile = gate_tile(c);
  float* to = p.pattern + ((static_cast<int64_t>(batch) * p.heads * p.group + query_head) * all + c) * kChunk * kChunk;
  float total[kChunk / 4] = {};                 // of tokens quarter, quarter + 4 …
  for (int base = 0; base < kKeys; base += 8) {
    float w[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) w[i] = to_float<E>(keys[s * Place::kRowPitch + base + 2 * quarter + i]);
#pragma unroll
    for (int n = 0; n < kChunk; ++n) {
      float x = 0;
      if (n >= s && n < count) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int row = base + 2 * quarter + i;
          if (n > s && kDecay == kRows) w[i] *= tile[n * W + row];
          x += w[i] * to_float<E>(queries[n * Place::kRowPitch + row]);
        }
      }
      x += __shfl_xor_sync(0xffffffffu, x, 1);
      x += __shfl_xor_sync(0xffffffffu, x, 2);
      if (n % 4 == quarter) total[n / 4] += x;
    }
  }
#pragma unroll
  for (int n = 0; n < kChunk / 4; ++n) to[(4 * n + quarter) * kChunk + s] = total[n] * p.scale;
  }
}

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ void Block<E, kKeys, kHalves, kTiles, kDecay>::note(int c) const {
  const int64_t T = p.positions;
  const Type* values = stage(c, Place::kV);
  for (int i = static_cast<int>(threadIdx.x); p.written && i < kChunk * Place::kColumnsHere; i += kThreads) {
    const int row = i / Place::kColumnsHere, col = i % Place::kColumnsHere, at = c * kChunk + row;
    if (at < T && col < width) p.written[((batch * T + at) * p.heads + head) * p.d_v + column + col] = to_float<E>(values[row * Place::kColumnPitch + col]);
  }
  if (p.write_norm && part == 0) {
    const Type* whole = v - column;
    for (int row = warp; row < kChunk; row += kWarps) {
      const int64_t at = c * kChunk + row;
      if (at >= T) break;
      float keys = 0, all = 0;
      for (int i = lane; i < p.d_k; i += 32) {
        const float x = to_float<E>(k[at * p.heads * p.d_k + i]);
        keys += x * x;
      }
      for (int i = lane; i < p.d_v; i += 32) {
        const float x = to_float<E>(whole[at * p.heads * p.d_v + i]);
        all += x * x;
      }
#pragma unroll
      for (int step = 16; step; step /= 2) {
        keys += __shfl_xor_sync(0xffffffffu, keys, step);
        all += __shfl_xor_sync(0xffffffffu, all, step);
      }
      if (lane == 0) p.write_norm[(batch * T + at) * p.heads + head] = sqrtf(keys) * sqrtf(all);
    }
  }
}

}  // namespace microtome::kernels::chunk_linear
