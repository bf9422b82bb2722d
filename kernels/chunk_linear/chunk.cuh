// A chunk by products: read-outs, and the state behind it.
#pragma once

#include "kernels/chunk_linear/block.cuh"

namespace microtome::kernels::chunk_linear {

// x becomes the state after token `last` of the chunk (kWhole: its last one), from the state before it.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
template <bool kWhole>
__device__ __forceinline__ void Block<E, kKeys, kHalves, kTiles, kDecay>::advance(int c, float (&x)[kRowBlocks][kTiles][4], int last) const {
  const Type *keys = stage(c, Place::kK), *values = stage(c, Place::kV);
  if constexpr (kDecay == kAll) {
    const Gates& b = gates_of(c);
    const float a = kWhole ? b.all : b.from_start[last];
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) x[i][j][e] *= a;
  }
#pragma unroll
  for (int ks = 0; ks < 4; ++ks) {
    if (!kWhole && 16 * ks > last) break;
    float f[4] = {1, 1, 1, 1};
    if constexpr (kDecay == kAll || !kWhole) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int s = 16 * ks + 2 * t + n % 2 + 8 * (n / 2);
        if constexpr (kDecay == kAll) {
          const Gates& b = gates_of(c);
          f[n] = kWhole ? b.to_end[s] : s <= last ? exponential<E>((b.whole[last] - b.whole[s]) + (b.part[last] - b.part[s])) : 0.f;
        } else {
          f[n] = s <= last ? 1.f : 0.f;
        }
      }
    }
    Left<E> left[kRowBlocks];
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i) {
      left_columns<E>(left[i], keys, Place::kRowPitch, (rows + 4 * i) * 16, 16 * ks, lane);
      if constexpr (kDecay == kAll || !kWhole) scale_places<E>(left[i], f);
      left[i].settle();
    }
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
      Right<E> right[2];
      right_columns<E>(right, values, Place::kColumnPitch, half * kHalf + 8 * j, 16 * ks, lane);
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i) {
        multiply<E>(x[i][j], left[i], right[0]);
        multiply<E>(x[i][j + 1], left[i], right[1]);
      }
    }
  }
  if constexpr (kDecay == kRows || kDecay == kColumns) {
    const float* total = gate_tile(c) + last * Place::kGateWidth;
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) x[i][j][e] *= total[kDecay == kRows ? row_of(i) + 8 * (e / 2) : column_of(j) + e % 2];
  }
}

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ __forceinline__ void Block<E, kKeys, kHalves, kTiles, kDecay>::write_z(int c, const float (&o)[kTiles][4]) const {
  const int Q = p.heads * p.group, T = p.positions;
  const bool wide = p.z_float || E::kWide;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int at = c * kChunk + rows * 16 + g + 8 * e, token = p.reverse ? T - 1 - at : at;
    const int64_t to = ((static_cast<int64_t>(batch) * T + token) * Q + query_head) * p.d_v + column + column_of(0);
    float squares = 0;
    if (plain && !p.read_squares && at < T) {
      if (wide) {
        float* z = static_cast<float*>(p.z) + to;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) *reinterpret_cast<float2*>(z + 8 * j) = make_float2(o[j][2 * e] * p.scale, o[j][2 * e + 1] * p.scale);
      } else {
        Type* z = static_cast<Type*>(p.z) + to;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) *reinterpret_cast<uint32_t*>(z + 8 * j) = pack<E>(o[j][2 * e] * p.scale, o[j][2 * e + 1] * p.scale);
      }
    } else if (at < T) {
      if (p.d_v % 2 == 0) {
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
          if (column_of(j) >= width) continue;
          const float x = o[j][2 * e] * p.scale, y = o[j][2 * e + 1] * p.scale;
          squares += x * x + y * y;
          if (wide) *reinterpret_cast<float2*>(static_cast<float*>(p.z) + to + 8 * j) = make_float2(x, y);
          else *reinterpret_cast<uint32_t*>(static_cast<Type*>(p.z) + to + 8 * j) = pack<E>(x, y);
        }
      } else {
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
#pragma unroll
          for (int f = 0; f < 2; ++f) {
            if (column_of(j) + f >= width) continue;
            const float x = o[j][2 * e + f] * p.scale;
            squares += x * x;
            if (wide) static_cast<float*>(p.z)[to + 8 * j + f] = x;
            else static_cast<Type*>(p.z)[to + 8 * j + f] = from_float<E>(x);
          }
      }
    }
    if (p.read_squares) {
      squares += __shfl_xor_sync(0xffffffffu, squares, 1);
      squares += __shfl_xor_sync(0xffffffffu, squares, 2);
      if (t == 0 && at < T) p.read_squares[((static_cast<int64_t>(kHalves * part + half) * p.batch + batch) * T + token) * Q + query_head] = squares;
    }
  }
}

// Scores with the keys of block j. Its number is a template's, lest the compiler indexes s by `rows`, which they equal in one case.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
template <int j>
__device__ __forceinline__ void Block<E, kKeys, kHalves, kTiles, kDecay>::decay_scores(const Gates& b, float (&s)[8][4], int row) const {
  if (j == rows) {
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int at = row + 8 * (e / 2), col = 16 * j + 8 * n + 2 * t + e % 2;
        s[2 * j + n][e] *= exponential<E>((b.whole[at] - b.whole[col]) + (b.part[at] - b.part[col]));
      }
  } else if (j < 3 && j < rows) {
    const float before = b.row[j < 3 ? j : 0][row], behind = b.row[j < 3 ? j : 0][row + 8];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 f = *reinterpret_cast<const float2*>(b.column + 16 * j + 8 * n + 2 * t);
      s[2 * j + n][0] *= before * f.x;
      s[2 * j + n][1] *= before * f.y;
      s[2 * j + n][2] *= behind * f.x;
      s[2 * j + n][3] *= behind * f.y;
    }
  }
}

// z of a chunk, from the state before it; then the state after it. Straight through, so that products of both can be in flight.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__device__ __forceinline__ void Block<E, kKeys, kHalves, kTiles, kDecay>::read_out(int c) {
  const Type *queries = stage(c, Place::kQ), *keys = stage(c, Place::kK), *values = stage(c, Place::kV), *state = state_tile(c);
  const int row = rows * 16 + g;
  float o[kTiles][4] = {}, s[8][4] = {};
#pragma unroll
  for (int ks = 0; ks < kKeys / 16; ++ks) {
    Left<E> left;
    left_rows<E>(left, queries, Place::kRowPitch, rows * 16, 16 * ks, lane);
    left.settle();
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
      Right<E> right[2];
      right_columns<E>(right, state, Place::kColumnPitch, half * kHalf + 8 * j, 16 * ks, lane);
      multiply<E>(o[j], left, right[0]);
      multiply<E>(o[j + 1], left, right[1]);
    }
    // Later keys than a warp's rows are multiplied for nothing where that is cheaper than to ask.
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (E::kWide && j > rows) continue;
      Right<E> right[2];
      right_rows<E>(right, keys, Place::kRowPitch, 16 * j, 16 * ks, lane);
      multiply<E>(s[2 * j], left, right[0]);
      multiply<E>(s[2 * j + 1], left, right[1]);
    }
  }
  advance<true>(c, S, kChunk - 1);
  if constexpr (kDecay == kAll) {
    const Gates& b = gates_of(c);
    const float first = b.from_start[row], second = b.from_start[row + 8];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      o[j][0] *= first;
      o[j][1] *= first;
      o[j][2] *= second;
      o[j][3] *= second;
    }
    decay_scores<0>(b, s, row);
    decay_scores<1>(b, s, row);
    decay_scores<2>(b, s, row);
    decay_scores<3>(b, s, row);
  }
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (8 * n + 2 * t + e % 2 > row + 8 * (e / 2)) s[n][e] = 0.f;
  if (p.pattern && part == 0 && half == 0) {
    const int all = (p.positions + kChunk - 1) / kChunk;
    float* to = p.pattern + (((static_cast<int64_t>(batch) * p.heads * p.group + query_head) * all + c) * kChunk + row) * kChunk + 2 * t;
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) __stcs(reinterpret_cast<float2*>(to + 8 * e * kChunk + 8 * n), make_float2(s[n][2 * e] * p.scale, s[n][2 * e + 1] * p.scale));
  }
#pragma unroll
  for (int ks = 0; ks < 4; ++ks) {
    if (E::kWide && ks > rows) continue;
    Left<E> left;
    left_of_sums<E>(left, s[2 * ks], s[2 * ks + 1]);
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
      Right<E> right[2];
      right_columns<E>(right, values, Place::kColumnPitch, half * kHalf + 8 * j, 16 * ks, lane);
      multiply<E>(o[j], left, right[0]);
      multiply<E>(o[j + 1], left, right[1]);
    }
  }
  if constexpr (kDecay == kColumns) {
    const float* f = gate_tile(c);
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) o[j][e] *= f[(row + 8 * (e / 2)) * Place::kGateWidth + column_of(j) + e % 2];
  }
  write_z(c, o);
}

}  // namespace microtome::kernels::chunk_linear
