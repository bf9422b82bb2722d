// One block has one head and a part of the columns of its state, which stays in registers as sums of products; chunks of 64 tokens
// come through shared memory, the next one while the last is used. A warp has 16 of a chunk's tokens (and as many rows of every 64 of
// the state) and one or one half of the columns.
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include "kernels/chunk_linear/pass.h"
#include "kernels/chunk_linear/product.cuh"

namespace microtome::kernels::chunk_linear {

constexpr int kChunk = 64;
// By channel q exp(b) and k exp(-b) are formed while |b| stays below this in a chunk, so that both are finite; where it does not, the
// chunk is taken token by token.
constexpr float kMostDecay = 64;
constexpr float kLeastGate = -1e4f;

template <bool kWide>
struct Pitch {                                    // places of a row in shared memory beyond its width: no bank conflicts
  static constexpr int kRow = 8, kColumn = kWide ? 4 : 8;
};

__device__ __forceinline__ float gate_of(float g) { return g < kLeastGate ? kLeastGate : g; }   // NaN stays
template <class E>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (E::kSplit) return expf(x);
  else return __expf(x);
}

// A chunk's decays where there is one a token.
struct Gates {
  float whole[kChunk], part[kChunk];              // b_t as an integer and what is left: differences are exact
  float from_start[kChunk], to_end[kChunk];       // exp(b_t), exp(b_C - b_t)
  // Between blocks of 16 tokens, with e_j of the last token of block j: exp(b_t - e_j) of later ones, exp(e_j - b_s) of its own.
  float row[3][kChunk], column[kChunk];
  float all, unused[3];
};

constexpr int kAhead = 4, kRing = kAhead + 1;       // gates are summed for so many chunks at once, by a warp each

// How many bytes each thing has; the same on both sides.
template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
struct Shared {
  using Type = typename E::Type;
  static constexpr int kThreads = 128 * kHalves, kColumnsHere = 8 * kHalves * kTiles;
  static constexpr int kRowPitch = kKeys + Pitch<E::kWide>::kRow, kColumnPitch = kColumnsHere + Pitch<E::kWide>::kColumn;
  static constexpr int kGateWidth = kDecay == kRows ? kKeys : kDecay == kColumns ? kColumnsHere : 0;
  static constexpr int kQ = 0, kK = kChunk * kRowPitch * static_cast<int>(sizeof(Type)), kV = 2 * kK;
  static constexpr int kG = kV + kChunk * kColumnPitch * static_cast<int>(sizeof(Type));
  static constexpr int kStage = kG + kChunk * kGateWidth * 4;
  static constexpr int kState = kKeys * kColumnPitch * static_cast<int>(sizeof(Type));
  // Behind stages and states: gates of chunks, or products of gates by parts of a chunk and one row of all.
  static constexpr int kRest = kDecay == kAll ? kRing * static_cast<int>(sizeof(Gates)) : kGateWidth ? (kThreads + kGateWidth) * 4 : 0;
  // Token by token sums of four warps are joined here: 8 tokens.
  static constexpr int kJoin = kGateWidth ? 8 * 4 * kColumnsHere * 4 : 0;
  static constexpr int bytes(int stages, int states) { return stages * kStage + states * kState + kRest + kJoin; }
};

// 64 rows of `width` places of type Type; rows that are not there become zero.
template <class Type, int kMost, int kThreads>
__device__ __forceinline__ void fetch(Type* to, int pitch, const Type* from, int64_t stride, int width, int first, const Pass& p, int shift) {
  constexpr int kPieces = kMost * static_cast<int>(sizeof(Type)) / 16, kEach = 16 / static_cast<int>(sizeof(Type));
  const int T = p.positions;
  if ((reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(stride * static_cast<int64_t>(sizeof(Type))) | static_cast<uintptr_t>(width * sizeof(Type))) % 16 == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < kChunk * kPieces; i += kThreads) {
      const int row = i / kPieces, c = (i % kPieces) * kEach;
      if (c >= width) continue;
      const int at = first + row, token = p.reverse ? T - 1 - at + shift : at;
      const bool there = at < T && token < T;
      __pipeline_memcpy_async(to + row * pitch + c, from + (there ? token : 0) * stride + c, 16, there ? 0 : 16);
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < kChunk * kMost; i += kThreads) {
      const int row = i / kMost, c = i % kMost;
      if (c >= width) continue;
      const int at = first + row, token = p.reverse ? T - 1 - at + shift : at;
      to[row * pitch + c] = at < T && token < T ? from[token * stride + c] : Type(0.f);
    }
  }
}

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
class Block {
  using Type = typename E::Type;
  using Place = Shared<E, kKeys, kHalves, kTiles, kDecay>;
  static constexpr int kThreads = Place::kThreads, kWarps = kThreads / 32;
  static constexpr int kRowBlocks = kKeys / 64;               // sixteenths of rows a warp has of the state
  static constexpr int kHalf = 8 * kTiles;                    // columns of a warp

 public:
  __device__ Block(const Pass& pass, char* memory, int stages, int states) : p(pass), shared(memory), stages_(stages), states_(states) {
    warp = static_cast<int>(threadIdx.x) / 32;
    lane = static_cast<int>(threadIdx.x) % 32;
    half = warp / 4;
    // Later rows see more keys: the two warps of a scheduler have together as much as those of any other.
    rows = half ? 3 - warp % 4 : warp % 4;
    g = lane >> 2;
    t = lane & 3;
    const int Q = p.heads * p.group, parts = (p.d_v + Place::kColumnsHere - 1) / Place::kColumnsHere;
    int64_t id = blockIdx.x;
    part = static_cast<int>(id % parts);
    id /= parts;
    query_head = static_cast<int>(id % Q);
    id /= Q;
    batch = static_cast<int>(id % p.batch);
    segment = static_cast<int>(id / p.batch);
    head = query_head / p.group;
    first_of_group = query_head % p.group == 0;
    column = part * Place::kColumnsHere;
    width = min(Place::kColumnsHere, p.d_v - column);
    const int64_t T = p.positions;
    q = p.q ? static_cast<const Type*>(p.q) + (batch * T * p.q_heads + query_head / (Q / p.q_heads)) * p.d_k : nullptr;
    k = static_cast<const Type*>(p.k) + (batch * T * p.k_heads + query_head / (Q / p.k_heads)) * p.d_k;
    v = static_cast<const Type*>(p.v) + (batch * T * p.v_heads + query_head / (Q / p.v_heads)) * p.d_v + column;
    gate_width = kDecay == kAll ? 1 : kDecay == kRows ? p.d_k : p.d_v;
    gates = kDecay ? p.g + (batch * T * p.g_heads + query_head / (Q / p.g_heads)) * gate_width + (kDecay == kColumns ? column : 0) : nullptr;
    plain = p.d_k == kKeys && width == Place::kColumnsHere && p.d_v % 16 == 0 &&
            (reinterpret_cast<uintptr_t>(q) | reinterpret_cast<uintptr_t>(k) | reinterpret_cast<uintptr_t>(v) | reinterpret_cast<uintptr_t>(kDecay == kAll ? nullptr : gates)) % 16 == 0;
    state_memory = shared + stages * Place::kStage;
    rest = state_memory + states * Place::kState;
  }

  __device__ void run() {
    const int all = (p.positions + kChunk - 1) / kChunk, from = segment * p.segment_chunks, to = min(all, from + p.segment_chunks);
    for (int i = static_cast<int>(threadIdx.x); i < (stages_ * Place::kStage + states_ * Place::kState) / 16; i += kThreads) reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
    read_state();
    if (p.kept && first_of_group) ask_slots(from);
    __syncthreads();
    load(from);
    if constexpr (kDecay == kAll) {
      if (warp < kAhead) {
        ask_gates(from + warp);
        sum_gates(from + warp);
        ask_gates(from + kAhead + warp);
      }
    }
    put_state(from);
    for (int c = from; c < to; ++c) {
      __pipeline_wait_prior(0);
      __syncthreads();
      if (stages_ > 1 && c + 1 < to) load(c + 1);
      if constexpr (kDecay == kAll) {
        if ((c + 1 - from) % kAhead == 0 && warp < kAhead) {
          sum_gates(c + 1 + warp);
          ask_gates(c + 1 + kAhead + warp);
        }
      }
      chunk(c);
      if (c + 1 == to) break;
      if (stages_ == 1 || states_ == 1) __syncthreads();
      if (stages_ == 1) load(c + 1);
      put_state(c + 1);
    }
    if (p.state_out && first_of_group) leave_state(to == all);
  }

 private:
  __device__ Type* stage(int c, int what) const { return reinterpret_cast<Type*>(shared + (stages_ > 1 ? c & 1 : 0) * Place::kStage + what); }
  __device__ float* gate_tile(int c) const { return reinterpret_cast<float*>(shared + (stages_ > 1 ? c & 1 : 0) * Place::kStage + Place::kG); }
  __device__ Type* state_tile(int c) const { return reinterpret_cast<Type*>(state_memory + (states_ > 1 ? c & 1 : 0) * Place::kState); }
  __device__ Gates& gates_of(int c) const { return reinterpret_cast<Gates*>(rest)[c % kRing]; }

  // The same where all is there: no questions asked.
  template <class Item, int kMost>
  __device__ __forceinline__ void fetch_all(Item* to, int pitch, const Item* from, int64_t stride, int first, int shift) const {
    constexpr int kPieces = kMost * static_cast<int>(sizeof(Item)) / 16, kEach = 16 / static_cast<int>(sizeof(Item)), kRows = kThreads / kPieces;
    static_assert(kThreads % kPieces == 0);
    const int row = static_cast<int>(threadIdx.x) / kPieces, c = static_cast<int>(threadIdx.x) % kPieces * kEach;
    const int64_t token = p.reverse ? p.positions - 1 - first + shift - row : first + row, step = (p.reverse ? -stride : stride) * kRows;
    const Item* source = from + token * stride + c;
    Item* target = to + row * pitch + c;
#pragma unroll
    for (int i = 0; i < kChunk / kRows; ++i) {
      __pipeline_memcpy_async(target + i * kRows * pitch, source, 16);
      source += step;
    }
  }

  __device__ void load(int c) {
    const int first = c * kChunk;
    if (plain && first + kChunk <= p.positions && (Place::kGateWidth == 0 || first > 0)) {
      if (q) fetch_all<Type, kKeys>(stage(c, Place::kQ), Place::kRowPitch, q, static_cast<int64_t>(p.q_heads) * p.d_k, first, 0);
      fetch_all<Type, kKeys>(stage(c, Place::kK), Place::kRowPitch, k, static_cast<int64_t>(p.k_heads) * p.d_k, first, 0);
      fetch_all<Type, Place::kColumnsHere>(stage(c, Place::kV), Place::kColumnPitch, v, static_cast<int64_t>(p.v_heads) * p.d_v, first, 0);
      if constexpr (Place::kGateWidth > 0)
        fetch_all<float, Place::kGateWidth>(gate_tile(c), Place::kGateWidth, gates, static_cast<int64_t>(p.g_heads) * gate_width, first, 1);
      __pipeline_commit();
      return;
    }
    if (q) fetch<Type, kKeys, kThreads>(stage(c, Place::kQ), Place::kRowPitch, q, static_cast<int64_t>(p.q_heads) * p.d_k, p.d_k, first, p, 0);
    fetch<Type, kKeys, kThreads>(stage(c, Place::kK), Place::kRowPitch, k, static_cast<int64_t>(p.k_heads) * p.d_k, p.d_k, first, p, 0);
    fetch<Type, Place::kColumnsHere, kThreads>(stage(c, Place::kV), Place::kColumnPitch, v, static_cast<int64_t>(p.v_heads) * p.d_v, width, first, p, 0);
    if constexpr (Place::kGateWidth > 0)
      fetch<float, Place::kGateWidth, kThreads>(gate_tile(c), Place::kGateWidth, gates, static_cast<int64_t>(p.g_heads) * gate_width, kDecay == kRows ? p.d_k : width, first, p, 1);
    __pipeline_commit();
  }

  // One decay a token: lane l has tokens 2 l and 2 l + 1, read some chunks ahead.
  __device__ void ask_gates(int c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = c * kChunk + 2 * lane + i, token = p.reverse ? p.positions - at : at;
      asked[i] = at < p.positions && token < p.positions ? gate_of(gates[static_cast<int64_t>(token) * p.g_heads]) : 0.f;
    }
  }
  __device__ void sum_gates(int c) {
    const double first = asked[0], both = first + static_cast<double>(asked[1]);
    double sum = both;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const double before = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += before;
    }
    const double end = __shfl_sync(0xffffffffu, sum, 31);
    Gates& out = gates_of(c);
    const double b[2] = {sum - both + first, sum};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float near = rintf(static_cast<float>(b[i]));
      out.whole[2 * lane + i] = near;
      out.part[2 * lane + i] = static_cast<float>(b[i] - static_cast<double>(near));
      out.from_start[2 * lane + i] = expf(static_cast<float>(b[i]));
      out.to_end[2 * lane + i] = expf(static_cast<float>(end - b[i]));
      out.column[2 * lane + i] = expf(static_cast<float>(__shfl_sync(0xffffffffu, sum, lane | 7) - b[i]));
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        const double before = __shfl_sync(0xffffffffu, sum, 8 * j + 7);
        if (j < lane / 8) out.row[j][2 * lane + i] = expf(static_cast<float>(b[i] - before));
      }
    }
    if (lane == 0) out.all = expf(static_cast<float>(end));
  }

  __device__ int row_of(int i) const { return (rows + 4 * i) * 16 + g; }
  __device__ int column_of(int j) const { return half * kHalf + 8 * j + 2 * t; }

  __device__ void read_state() {
    const float* in = p.state_in;
    float scale = 1;
    if (in && p.in_whole) {
      const int share = p.heads / p.in_heads;
      in = segment == 0 && head % share == 0 ? in + (static_cast<int64_t>(batch) * p.in_heads + head / share) * p.d_k * p.d_v : nullptr;
      scale = p.in_scale;
    }
    else if (in) in += ((static_cast<int64_t>(batch) * p.heads + head) * p.segments + segment) * p.d_k * p.d_v;
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int row = row_of(i) + 8 * (e / 2), col = column + column_of(j) + e % 2;
          S[i][j][e] = !in || row >= p.d_k || col >= p.d_v ? 0.f : p.in_transposed ? scale * in[static_cast<int64_t>(col) * p.d_k + row] : scale * in[static_cast<int64_t>(row) * p.d_v + col];
        }
  }
  // The state as the chunk's read-outs see it.
  __device__ void put_state(int c) const {
    if (!q) return;
    Type* to = state_tile(c);
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          Type* at = to + (row_of(i) + 8 * e) * Place::kColumnPitch + column_of(j);
          if constexpr (E::kWide) *reinterpret_cast<float2*>(at) = make_float2(S[i][j][2 * e], S[i][j][2 * e + 1]);
          else *reinterpret_cast<uint32_t*>(at) = pack<E>(S[i][j][2 * e], S[i][j][2 * e + 1]);
        }
  }
  __device__ void store(float* to, const float (&x)[kRowBlocks][kTiles][4]) const {
    const bool pairs = p.d_v % 2 == 0 && reinterpret_cast<uintptr_t>(to) % 8 == 0;
    const int width_all = p.d_v;
    float* const base = to + static_cast<int64_t>(row_of(0)) * width_all + column + column_of(0);
    if (pairs && plain) {
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float* at = base + (64 * i + 8 * e) * width_all;
#pragma unroll
          for (int j = 0; j < kTiles; ++j) __stcs(reinterpret_cast<float2*>(at + 8 * j), make_float2(x[i][j][2 * e], x[i][j][2 * e + 1]));
        }
      return;
    }
#pragma unroll
    for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int row = row_of(i) + 8 * e, col = column_of(j);
          if (row >= p.d_k || col >= width) continue;
          float* at = base + (64 * i + 8 * e) * width_all + 8 * j;
          at[0] = x[i][j][2 * e];
          if (col + 1 < width) at[1] = x[i][j][2 * e + 1];
        }
  }
  __device__ void leave_state(bool last) {
    const int64_t here = static_cast<int64_t>(batch) * p.heads + head;
    if (p.out_whole && !last) return;
    if (p.out_whole && p.reverse && kDecay) {       // what came before the first token sees its gate too
      if constexpr (kDecay == kAll) {
        const float a = expf(gate_of(gates[0]));
#pragma unroll
        for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
          for (int j = 0; j < kTiles; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) S[i][j][e] *= a;
      } else {
#pragma unroll
        for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
          for (int j = 0; j < kTiles; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const int at = kDecay == kRows ? row_of(i) + 8 * (e / 2) : column_of(j) + e % 2;
              if (at < (kDecay == kRows ? p.d_k : width)) S[i][j][e] *= expf(gate_of(gates[at]));
            }
      }
    }
    if (p.out_whole && p.out_scale != 1) {
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i)
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) S[i][j][e] *= p.out_scale;
    }
    store(p.state_out + (p.out_whole ? here : here * p.segments + segment) * p.d_k * p.d_v, S);
  }

  // x becomes the state after token `last` of the chunk (kWhole: its last one), from the state before it.
  template <bool kWhole>
  __device__ __forceinline__ void advance(int c, float (&x)[kRowBlocks][kTiles][4], int last) const {
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

  __device__ __forceinline__ void write_z(int c, const float (&o)[kTiles][4]) const {
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
  template <int j>
  __device__ __forceinline__ void decay_scores(const Gates& b, float (&s)[8][4], int row) const {
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
  __device__ __forceinline__ void read_out(int c) {
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

  // Decays by channel become products since the chunk's start; q, k (or v) carry them. False: too far apart for that.
  __device__ bool prepare(int c) const {
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
  __device__ void token_by_token(int c) {
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
  __device__ void slow_pattern(int c) const {
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

  __device__ void note(int c) const {
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

  __device__ void chunk(int c) {
    if ((p.written || p.write_norm) && first_of_group) note(c);
    if constexpr (Place::kGateWidth > 0) {
      if (!prepare(c)) {
        token_by_token(c);
        if (p.kept && first_of_group) ask_slots(c + 1);
        return;
      }
    }
    int slot = -1;
    if (p.kept && first_of_group) {
      const int here[2] = {slots[0], slots[1]}, end = min(kChunk, p.positions - c * kChunk) - 1;
      ask_slots(c + 1);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        unsigned word = __ballot_sync(0xffffffffu, here[i] >= 0);
        while (word) {
          const int s = __ffs(static_cast<int>(word)) - 1, place = __shfl_sync(0xffffffffu, here[i], s);
          word &= word - 1;
          if (32 * i + s == end) {
            slot = place;
            continue;
          }
          float x[kRowBlocks][kTiles][4];
#pragma unroll
          for (int a = 0; a < kRowBlocks; ++a)
#pragma unroll
            for (int j = 0; j < kTiles; ++j)
#pragma unroll
              for (int e = 0; e < 4; ++e) x[a][j][e] = S[a][j][e];
          advance<false>(c, x, 32 * i + s);
          store(kept_place(place), x);
        }
      }
    }
    if (q) read_out(c);
    else advance<true>(c, S, kChunk - 1);
    if (slot >= 0) store(kept_place(slot), S);
  }
  __device__ void ask_slots(int c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = c * kChunk + 32 * i + lane;
      slots[i] = at < p.positions ? static_cast<int>(p.slots[at]) : -1;
    }
  }
  __device__ float* kept_place(int slot) const {
    return p.kept + ((static_cast<int64_t>(batch) * p.kept_count + slot) * p.heads + head) * p.d_k * p.d_v;
  }

  const Pass& p;
  char *shared, *state_memory, *rest;
  const Type *q, *k, *v;
  const float* gates;
  int stages_, states_, warp, lane, half, rows, g, t, part, query_head, head, batch, segment, column, width, gate_width;
  bool first_of_group, plain;
  float asked[2];
  int slots[2];
  float S[kRowBlocks][kTiles][4];
};

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__global__ void __launch_bounds__(128 * kHalves, (kKeys == 64 ? 4 : 2) / kHalves > 0 ? (kKeys == 64 ? 4 : 2) / kHalves : 1) pass_kernel(const __grid_constant__ Pass p, int stages, int states) {
  extern __shared__ __align__(16) char memory[];
  Block<E, kKeys, kHalves, kTiles, kDecay> block(p, memory, stages, states);
  block.run();
}

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
cudaError_t launch(const Pass& p, const Layout& at, cudaStream_t stream) {
  using Place = Shared<E, kKeys, kHalves, kTiles, kDecay>;
  const int bytes = Place::bytes(at.stages, at.states);
  if (bytes != at.bytes) return cudaErrorAssert;                 // layout_of and Shared have grown apart
  if (const cudaError_t e = cudaFuncSetAttribute(pass_kernel<E, kKeys, kHalves, kTiles, kDecay>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)) return e;
  const int64_t blocks = static_cast<int64_t>(at.parts) * p.heads * p.group * p.batch * p.segments;
  pass_kernel<E, kKeys, kHalves, kTiles, kDecay><<<static_cast<unsigned>(blocks), 128 * kHalves, static_cast<size_t>(bytes), stream>>>(p, at.stages, at.states);
  return cudaGetLastError();
}

template <class E, int kKeys, int kHalves, int kTiles>
cudaError_t launch(const Pass& p, const Layout& at, cudaStream_t stream) {
  switch (p.decay) {
    case kNone: return launch<E, kKeys, kHalves, kTiles, kNone>(p, at, stream);
    case kAll: return launch<E, kKeys, kHalves, kTiles, kAll>(p, at, stream);
    default: break;
  }
  if constexpr (!std::is_same_v<E, Float16> && !(E::kWide && kKeys == 256)) {
    if (p.decay == kRows) return launch<E, kKeys, kHalves, kTiles, kRows>(p, at, stream);
  }
  if constexpr (!std::is_same_v<E, Float16>) {
    if (p.decay == kColumns) return launch<E, kKeys, kHalves, kTiles, kColumns>(p, at, stream);
  }
  return cudaErrorNotSupported;
}

template <class E>
cudaError_t start(const Pass& p, cudaStream_t stream) {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  if (const cudaError_t e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)) return e;
  const Layout at = layout_of(E::kWide, p.d_k, p.d_v, p.decay, most);
  if (at.bytes < 0) return cudaErrorNotSupported;
#ifdef CHUNK_TUNE
  if (at.keys == 64 && at.halves == 2 && at.columns == 32) return launch<E, 64, 2, 2>(p, at, stream);
  if (at.keys == 64 && at.halves == 1 && at.columns == 32) return launch<E, 64, 1, 4>(p, at, stream);
  if (at.keys == 128 && at.halves == 2 && at.columns == 64) return launch<E, 128, 2, 4>(p, at, stream);
#endif
  if (at.keys == 64) return launch<E, 64, 2, 4>(p, at, stream);
  if (at.keys == 256) return launch<E, 256, 2, 4>(p, at, stream);
  if constexpr (!E::kWide) {
    if (at.columns == 128) return launch<E, 128, 2, 8>(p, at, stream);
  }
  return launch<E, 128, 2, 4>(p, at, stream);
}

}  // namespace microtome::kernels::chunk_linear
