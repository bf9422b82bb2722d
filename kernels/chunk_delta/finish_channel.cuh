// finish_channel.cuh — the last gradients where every key channel has a decay of its own, a block a chunk, from the states around it, X, w
// and y (backward.cuh). With a = scale dZ w^T, l = -y w^T (both lower triangles, l without its diagonal), from = exp(b_t) and
// to = exp(b_C - b_s) a channel, G_i[t,s] = exp(b_ti - b_si):
//
//   dq_ti = scale from_ti (S dZ_t)_i + sum_{s<=t} a[t,s] G_i[t,s] k_si
//   r_ti = sum_{s<t} l[t,s] G_i[t,s] k_si;   reads_ti = beta_t (r_ti - from_ti (S y_t)_i)
//   writes_si = to_si (D' w_s)_i + sum_{t>=s} a[t,s] G_i[t,s] q_ti + sum_{t>s} beta_t l[t,s] G_i[t,s] k_ti
//   dk = reads + writes;   dbeta_t = y_t · X_t + k_t · r_t
//   db = q ∘ dq + k ∘ (reads - writes);   dg_ti = sum_{t'>=t} db_t'i + sum_s to_si (D' w_s)_i k_si + exp(b_Ci) (S ∘ D' summed over d_v)_i
//
// Sums over tokens cannot be products of matrices, since G depends on the channel: a thread has a channel and walks from a token
// over the others, G growing by one factor exp(g) a step, so that nothing is ever divided by a decay. Four tokens in a row share a walk.
#pragma once

#include "kernels/chunk_delta/prepare.cuh"

namespace microtome::kernels::delta {

constexpr int kChannelThreads = 256, kChannelSide = 64;   // channels and columns of d_v at a time

// dz … last: tiles of operands; dq, reads and writes come in their place.
template <class E>
struct ChannelRoom {
  static constexpr int kTile = kChannelSide * (kChannelSide + 8), kPlane = static_cast<int>(kTokens) * kChannelSide;
  float *a, *l, *k, *q, *e, *beta, *from_x, *from_k, *met, *ends, *sums, *dq, *reads, *writes;
  E *dz, *w, *y, *x, *start, *last;
  static constexpr size_t kBytes = (2 * kTokens * kPitch + 3 * kPlane + 13 * kTokens) * sizeof(float) + 6 * kTile * sizeof(E);
  static_assert(6 * kTile * sizeof(E) >= 3 * kPlane * sizeof(float));
  __device__ explicit ChannelRoom(char* p) {
    a = reinterpret_cast<float*>(p);
    l = a + kTokens * kPitch;
    k = l + kTokens * kPitch;
    q = k + kPlane;
    e = q + kPlane;                    // exp(g)
    beta = e + kPlane;
    from_x = beta + kTokens;           // y · X by halves of the columns [2][64]
    from_k = from_x + 2 * kTokens;     // k · r by halves of the channels
    met = from_k + 2 * kTokens;        // S ∘ D' by halves of the columns
    ends = met + 2 * kTokens;          // what b_C gets through the writes
    sums = ends + 2 * kTokens;         // of db [4][64]
    dz = reinterpret_cast<E*>(sums + 4 * kTokens);
    w = dz + kTile;
    y = w + kTile;
    x = y + kTile;
    start = x + kTile;
    last = start + kTile;
    dq = reinterpret_cast<float*>(dz);
    reads = dq + kPlane;
    writes = reads + kPlane;
  }
};

template <class N>
__global__ void __launch_bounds__(kChannelThreads) finish_channel(const Segment s, const ChunkGradient gradient) {
  using E = typename N::Element;
  extern __shared__ __align__(16) char shared[];
  const ChannelRoom<E> r(shared);
  const Chunk& in = s.in;
  constexpr int kSide = kChannelSide, P = kSide + 8;
  const int K = static_cast<int>(in.d_k), V = static_cast<int>(in.d_v), thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int rank = warp % 4, half = warp / 4;           // of products: 16 tokens, half of the other side
  const int64_t H = in.heads;
  const Place p = place_of(s);
  const int64_t row = (p.b * in.positions + p.first_token) * H + p.h, at = p.bh * s.chunks + p.chunk;
  const int t = rank * 16 + (lane >> 2), pair = (lane & 3) * 2;
  const float scale = static_cast<float>(in.scale);
  if (thread < kTokens) r.beta[thread] = thread < p.rows ? in.beta[row + thread * H] : 0.f;
  if (thread < 2 * kTokens) r.from_k[thread] = 0.f;
  auto load_values = [&](int v) {
    const int width = min(kSide, V - v);
    copy_rows(r.dz, P, static_cast<const E*>(gradient.dz) + row * V + v, H * V, p.rows, width, kSide, thread, kChannelThreads);
    copy_rows(r.w, P, static_cast<const E*>(s.writes) + at * kTokens * V + v, V, kTokens, width, kSide, thread, kChannelThreads);
    copy_rows(r.y, P, static_cast<const E*>(s.answers) + at * kTokens * V + v, V, kTokens, width, kSide, thread, kChannelThreads);
    commit();
  };
  {
    float a[4][4] = {}, l[4][4] = {}, dbeta[2] = {};
    for (int v = 0; v < V; v += kSide) {
      __syncthreads();
      load_values(v);
      copy_rows(r.x, P, static_cast<const E*>(s.inputs) + at * kTokens * V + v, V, kTokens, min(kSide, V - v), kSide, thread, kChannelThreads);
      commit();
      wait_for<0>();
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kSide; k += 16) {
        const typename N::A dz = N::a_rows(r.dz + rank * 16 * P + k, P, lane), y = N::a_rows(r.y + rank * 16 * P + k, P, lane);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          const int block = half * 2 + m;
          if (block > rank) continue;
          typename N::B right[2];
          N::b_columns(right, r.w + block * 16 * P + k, P, lane);
          N::product(a[2 * m], dz, right[0]);
          N::product(a[2 * m + 1], dz, right[1]);
          N::product(l[2 * m], y, right[0]);
          N::product(l[2 * m + 1], y, right[1]);
        }
      }
      for (int c = (lane & 3) + 4 * half; c < kSide; c += 8)
#pragma unroll
        for (int i = 0; i < 2; ++i) dbeta[i] += static_cast<float>(r.y[(t + 8 * i) * P + c]) * static_cast<float>(r.x[(t + 8 * i) * P + c]);
    }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = (half * 2 + n / 2) * 16 + n % 2 * 8 + pair + (i & 1), to = t + (i / 2) * 8;
        r.a[to * kPitch + column] = column <= to ? scale * a[n][i] : 0.f;
        r.l[to * kPitch + column] = column < to ? -l[n][i] : 0.f;
      }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      for (int step = 1; step < 4; step *= 2) dbeta[i] += __shfl_xor_sync(kAll, dbeta[i], step);
      if ((lane & 3) == 0) r.from_x[half * kTokens + t + 8 * i] = dbeta[i];
    }
  }

  const int c = thread % kSide, part = thread / kSide;   // of walks: a channel, and a part of the tokens
  for (int k0 = 0; k0 < K; k0 += kSide) {
    const int channels = min(kSide, K - k0);
    __syncthreads();                                    // what the last channels needed is free
    if (thread < 2 * kTokens) r.met[thread] = 0.f;
    for (int i = thread; i < ChannelRoom<E>::kPlane; i += kChannelThreads) {
      const int token = i / kSide;
      const bool valid = token < p.rows && c < channels;   // c is i % kSide
      const int64_t place = (row + token * H) * K + k0 + c;
      r.k[i] = valid ? static_cast<float>(static_cast<const E*>(in.k)[place]) : 0.f;
      r.q[i] = valid ? static_cast<float>(static_cast<const E*>(in.q)[place]) : 0.f;
      r.e[i] = valid ? decay_of<N>(bounded(in.g[place])) : 1.f;
    }
    {
      float write[4][4] = {}, known[4][4] = {}, read[4][4] = {};
      for (int v = 0; v < V; v += kSide) {
        __syncthreads();
        load_values(v);
        const int width = min(kSide, V - v);
        const float *const start = s.starts + (at * K + k0) * V + v, *const last = s.ends + (at * K + k0) * V + v;
        for (int i = thread; i < kSide * kSide; i += kChannelThreads) {
          const int key = i / kSide;                    // the same for all of a warp
          const bool valid = key < channels && c < width;
          const float x = valid ? start[static_cast<int64_t>(key) * V + c] : 0.f, y = valid ? last[static_cast<int64_t>(key) * V + c] : 0.f;
          r.start[key * P + c] = E(x);
          r.last[key * P + c] = E(y);
          float met = x * y;
#pragma unroll
          for (int step = 1; step < 32; step *= 2) met += __shfl_xor_sync(kAll, met, step);
          if (lane == 0) r.met[(warp & 1) * kTokens + key] += met;
        }
        wait_for<0>();
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kSide; k += 16) {
          const typename N::A w = N::a_rows(r.w + rank * 16 * P + k, P, lane), y = N::a_rows(r.y + rank * 16 * P + k, P, lane), dz = N::a_rows(r.dz + rank * 16 * P + k, P, lane);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const int keys = (half * 2 + m) * 16 * P + k;
            typename N::B right[2];
            N::b_columns(right, r.last + keys, P, lane);
            N::product(write[2 * m], w, right[0]);
            N::product(write[2 * m + 1], w, right[1]);
            N::b_columns(right, r.start + keys, P, lane);
            N::product(known[2 * m], y, right[0]);
            N::product(known[2 * m + 1], y, right[1]);
            N::product(read[2 * m], dz, right[0]);
            N::product(read[2 * m + 1], dz, right[1]);
          }
        }
      }
      __syncthreads();                                  // the tiles are read
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int place = (t + (i / 2) * 8) * kSide + (half * 2 + n / 2) * 16 + n % 2 * 8 + pair + (i & 1);
          r.dq[place] = scale * read[n][i];
          r.reads[place] = known[n][i];
          r.writes[place] = write[n][i];
        }
      __syncthreads();
    }

    const float *const k = r.k + c, *const q = r.q + c, *const e = r.e + c;
    if (part < 2) {
      for (int t0 = 4 * part; t0 < kTokens; t0 += 8) {
        float got[4] = {}, inner[4] = {}, f = e[t0 * kSide];   // f: exp(b_t0 - b_s)
        for (int from = t0 - 1; from >= 0; --from) {
          const float x = f * k[from * kSide];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            got[j] += r.a[(t0 + j) * kPitch + from] * x;
            inner[j] += r.l[(t0 + j) * kPitch + from] * x;
          }
          f *= e[from * kSide];
        }
        float grown = 1.f;                              // and now f = exp(b_t0)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int token = t0 + j;
          if (j) grown *= e[token * kSide];
          got[j] *= grown;
          inner[j] *= grown;
          float h = 1.f;
#pragma unroll
          for (int m = j; m >= 0; --m) {
            const float x = h * k[(t0 + m) * kSide];
            got[j] += r.a[token * kPitch + t0 + m] * x;
            if (m < j) inner[j] += r.l[token * kPitch + t0 + m] * x;
            h *= e[(t0 + m) * kSide];
          }
          const int place = token * kSide + c;
          r.dq[place] = f * grown * r.dq[place] + got[j];
          r.reads[place] = r.beta[token] * (inner[j] - f * grown * r.reads[place]);
          float sum = k[token * kSide] * inner[j];
#pragma unroll
          for (int step = 1; step < 32; step *= 2) sum += __shfl_xor_sync(kAll, sum, step);
          if (lane == 0) r.from_k[c / 32 * kTokens + token] += sum;
        }
      }
    } else {
      float end = 0.f;
      for (int s0 = 4 * (part - 2); s0 < kTokens; s0 += 8) {
        float put[4] = {}, f = 1.f;                     // f: exp(b_t - b_(s0 + 3))
        for (int to = s0 + 4; to < kTokens; ++to) {
          f *= e[to * kSide];
          const float xq = f * q[to * kSide], xk = f * r.beta[to] * k[to * kSide];
          const float4 a = *reinterpret_cast<const float4*>(r.a + to * kPitch + s0), l = *reinterpret_cast<const float4*>(r.l + to * kPitch + s0);
          put[0] += a.x * xq + l.x * xk;
          put[1] += a.y * xq + l.y * xk;
          put[2] += a.z * xq + l.z * xk;
          put[3] += a.w * xq + l.w * xk;
        }
        float shrunk = 1.f;                             // and now f = exp(b_C - b_(s0 + 3))
#pragma unroll
        for (int j = 3; j >= 0; --j) {
          const int token = s0 + j;
          if (j < 3) shrunk *= e[(token + 1) * kSide];
          put[j] *= shrunk;
          float h = 1.f;
#pragma unroll
          for (int m = j; m < 4; ++m) {
            if (m > j) h *= e[(s0 + m) * kSide];
            put[j] += h * r.a[(s0 + m) * kPitch + token] * q[(s0 + m) * kSide];
            if (m > j) put[j] += h * r.l[(s0 + m) * kPitch + token] * r.beta[s0 + m] * k[(s0 + m) * kSide];
          }
          const int place = token * kSide + c;
          const float through = f * shrunk * r.writes[place];
          end += through * k[token * kSide];
          r.writes[place] = through + put[j];
        }
      }
      r.ends[(part - 2) * kTokens + c] = end;
    }
    __syncthreads();

    float after = 0.f;
    for (int i = 15; i >= 0; --i) {
      const int token = part * 16 + i, place = token * kSide + c;
      const float dq = r.dq[place], reads = r.reads[place], writes = r.writes[place];
      after += q[token * kSide] * dq + k[token * kSide] * (reads - writes);
      if (token < p.rows && c < channels) {
        const int64_t to = (row + token * H) * K + k0 + c;
        static_cast<E*>(gradient.dq)[to] = E(dq);
        static_cast<E*>(gradient.dk)[to] = E(reads + writes);
      }
    }
    r.sums[part * kTokens + c] = after;
    __syncthreads();
    if (!gradient.dg || c >= channels) continue;
    after = (r.ends[c] + r.ends[kTokens + c]) + s.decays[at * K + k0 + c] * (r.met[c] + r.met[kTokens + c]);
    for (int later = 3; later > part; --later) after += r.sums[later * kTokens + c];
    for (int i = 15; i >= 0; --i) {
      const int token = part * 16 + i, place = token * kSide + c;
      after += q[token * kSide] * r.dq[place] + k[token * kSide] * (r.reads[place] - r.writes[place]);
      const int64_t to = (row + token * H) * K + k0 + c;
      if (token < p.rows) gradient.dg[to] = in.g[to] < -1e4f ? 0.f : after;
    }
  }
  __syncthreads();
  if (gradient.dbeta && thread < p.rows)
    gradient.dbeta[row + thread * H] = (r.from_x[thread] + r.from_x[kTokens + thread]) + (r.from_k[thread] + r.from_k[kTokens + thread]);
}

}  // namespace microtome::kernels::delta
