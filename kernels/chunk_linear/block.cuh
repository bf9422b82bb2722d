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

  // chunk.cuh
  template <bool kWhole>
  __device__ void advance(int c, float (&x)[kRowBlocks][kTiles][4], int last) const;
  __device__ void write_z(int c, const float (&o)[kTiles][4]) const;
  template <int j>
  __device__ void decay_scores(const Gates& b, float (&s)[8][4], int row) const;
  __device__ void read_out(int c);
  // tokens.cuh
  __device__ bool prepare(int c) const;
  __device__ void token_by_token(int c);
  __device__ void slow_pattern(int c) const;
  __device__ void note(int c) const;

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

}  // namespace microtome::kernels::chunk_linear
