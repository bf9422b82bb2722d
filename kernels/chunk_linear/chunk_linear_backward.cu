// Gradients, made of three passes. With dS_t the gradient of the state behind token t as later tokens see it,
//
//   dq_t = scale S_t dz_t                                     the forward's pass with dz, v, k for q, k, v: its state is S^T
//   dk_s = dS_s v_s,   dv_s = dS_s^T k_s,                     passes from the last token to the first, whose state is dS / scale:
//   dS_s = D_{s+1} ∘ dS_{s+1} + scale q_s dz_s^T              v, dz, q (its transpose) and k, q, dz for q, k, v
//
// and the gates' gradient from those of q and k: what a gate of token m scales is what keys before m give to queries from m on, so
//
//   dg_m = sum_{t>=m} (q_t ∘ dq_t - k_t ∘ dk_t) + dS_T ∘ S_T  (summed over what shares the gate; the last term over columns)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/chunk_linear/pass.h"

namespace microtome::kernels::chunk_linear {
namespace {

__device__ __forceinline__ float number(const void* x, int64_t i, Element type) {
  if (type == Element::kFloat32) return static_cast<const float*>(x)[i];
  if (type == Element::kFloat16) return __half2float(static_cast<const __half*>(x)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(x)[i]);
}
__device__ __forceinline__ void put(void* x, int64_t i, Element type, float value) {
  if (type == Element::kFloat32) static_cast<float*>(x)[i] = value;
  else if (type == Element::kFloat16) static_cast<__half*>(x)[i] = __float2half_rn(value);
  else static_cast<__nv_bfloat16*>(x)[i] = __float2bfloat16_rn(value);
}

// A warp a token and state head: query heads' gradients of k are added up, float32 becomes the operands' type, and what the gates'
// gradient is a sum of goes to dg. dq, dk: float32, of query heads; null: gradients are where they belong.
__global__ void gather(const Chunk in, const float* dq, const float* dk, void* dq_out, void* dk_out, float* dg) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t rows = in.batch * in.positions * in.heads, row = blockIdx.x * static_cast<int64_t>(blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  float all = 0;
  for (int64_t i = lane; i < in.d_k; i += 32) {
    float keys = 0, e = 0;
    for (int64_t m = 0; m < in.group; ++m) {
      const int64_t at = (row * in.group + m) * in.d_k + i;
      keys += dk ? dk[at] : number(dk_out, at, in.element);
      if (dq || dg) {
        const float x = dq ? dq[at] : number(dq_out, at, in.element);
        if (dq) put(dq_out, at, in.element, x);
        if (dg) e += x * number(in.q, at, in.element);
      }
    }
    if (dk) put(dk_out, row * in.d_k + i, in.element, keys);
    if (!dg) continue;
    e -= keys * number(in.k, row * in.d_k + i, in.element);
    if (in.g_width > 1) dg[row * in.d_k + i] = e;
    all += e;
  }
  if (!dg || in.g_width > 1) return;
  for (int step = 16; step; step /= 2) all += __shfl_xor_sync(0xffffffffu, all, step);
  if (lane == 0) dg[row] = all;
}

// out[row, i] = sum over the group of x[row, m, i]
__global__ void add_group(const float* x, int64_t rows, int64_t group, int64_t width, void* out, Element type) {
  const int64_t n = rows * width;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < n; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    float sum = 0;
    for (int64_t m = 0; m < group; ++m) sum += x[(i / width * group + m) * width + i % width];
    put(out, i, type, sum);
  }
}

// dg, in place: sums from each token to the last one, and what the last state gives. last: S_T^T.
constexpr int kSumThreads = 512;
__global__ void __launch_bounds__(kSumThreads) sum_gates(const Chunk in, const float* last, const float* dlast, float* dg) {
  __shared__ double parts[kSumThreads];
  const int W = static_cast<int>(in.g_width), channels = W < 32 ? W : 32, slices = kSumThreads / channels;
  const int channel = static_cast<int>(threadIdx.x) % channels, slice = static_cast<int>(threadIdx.x) / channels, i = static_cast<int>(blockIdx.y) * channels + channel;
  const int64_t b = blockIdx.x / in.heads, h = blockIdx.x % in.heads, T = in.positions, each = (T + slices - 1) / slices, from = slice * each, to = min(T, from + each);
  const bool there = slice < slices && i < W;
  auto place = [&](int64_t t) { return ((b * T + t) * in.heads + h) * W + i; };
  double sum = 0;
  if (there)
    for (int64_t t = from; t < to; ++t) sum += dg[place(t)];
  double end = 0;
  if (there && last && slice == slices - 1) {
    const float *S = last + blockIdx.x * in.d_k * in.d_v, *d = dlast + blockIdx.x * in.d_k * in.d_v;
    for (int64_t row = W > 1 ? i : 0; row < (W > 1 ? i + 1 : in.d_k); ++row)
      for (int64_t j = 0; j < in.d_v; ++j) end += static_cast<double>(S[j * in.d_k + row]) * static_cast<double>(d[row * in.d_v + j]);
  }
  if (slice < slices) parts[threadIdx.x] = sum + end;
  __syncthreads();
  if (!there) return;
  double later = end;
  for (int s = slice + 1; s < slices; ++s) later += parts[s * channels + channel];
  for (int64_t t = to - 1; t >= from; --t) {
    later += dg[place(t)];
    dg[place(t)] = in.g[place(t)] < -1e4f ? 0.f : static_cast<float>(later);
  }
}

struct Passes {
  Pass dq, dk, dv;
  Plan dq_plan, dk_plan, dv_plan;
  // Bytes, one behind the other: what segments need (of one pass at a time), gradients in float32 or of query heads, states.
  int64_t segments = 0, dq_bytes = 0, dk_bytes = 0, dv_bytes = 0, last = 0, first = 0;
  bool fits = false;
  int64_t bytes() const { return segments + dq_bytes + dk_bytes + dv_bytes + last + first; }
};

Passes passes_of(const Chunk& in) {
  Passes out;
  if (in.scale == 0) return out;                                  // dS / scale
  const Pass p = pass_of(in);
  const bool wide = in.element == Element::kFloat32, gated = in.g_width > 0, grouped = in.group > 1;
  const int Q = p.heads * p.group;
  out.dq = p;
  out.dq.k = in.v;
  out.dq.v = in.k;
  out.dq.d_k = p.d_v;
  out.dq.d_v = p.d_k;
  out.dq.in_transposed = true;
  out.dk = out.dv = p;
  for (Pass* back : {&out.dk, &out.dv}) {
    back->heads = Q;
    back->group = 1;
    back->q_heads = p.heads;
    back->k_heads = back->v_heads = Q;
    back->reverse = true;
    back->in_scale = 1 / p.scale;
    back->out_scale = p.scale;
    back->z_float = grouped;
  }
  out.dk.q = in.v;
  out.dk.v = in.q;
  out.dk.d_k = p.d_v;
  out.dk.d_v = p.d_k;
  out.dk.in_transposed = true;
  out.dv.q = in.k;
  out.dv.k = in.q;
  if (p.decay == kRows) out.dq.decay = out.dk.decay = kColumns;
  const bool apart = gated && !wide;                              // 16 bits are too few for differences
  out.dq.z_float = apart;
  out.dk.z_float = apart || grouped;
  const int64_t limit = shared_limit(), queries = in.batch * in.positions * Q, states = in.batch * Q * in.d_k * in.d_v * 4;
  out.dq_plan = plan_of(out.dq, wide, limit);
  out.dk_plan = plan_of(out.dk, wide, limit);
  out.dv_plan = plan_of(out.dv, wide, limit);
  out.fits = out.dq_plan.at.bytes >= 0 && out.dk_plan.at.bytes >= 0 && out.dv_plan.at.bytes >= 0;
  for (const Plan* plan : {&out.dq_plan, &out.dk_plan, &out.dv_plan}) out.segments = out.segments > plan->bytes() ? out.segments : plan->bytes();
  if (out.dq.z_float) out.dq_bytes = up(queries * in.d_k * 4);
  if (out.dk.z_float) out.dk_bytes = up(queries * in.d_k * 4);
  if (out.dv.z_float) out.dv_bytes = up(queries * in.d_v * 4);
  if (gated) out.last = up(states / in.group);
  if (grouped) out.first = up(states);
  return out;
}

unsigned blocks_for(int64_t n) { return static_cast<unsigned>(n / 256 < 4096 ? (n + 255) / 256 : 4096); }

}  // namespace

int64_t backward_workspace(const Chunk& in) {
  const Passes p = passes_of(in);
  return p.fits ? p.bytes() : -1;
}

cudaError_t backward(const ChunkGradient& gradient, cudaStream_t stream) {
  const Chunk& in = gradient.in;
  Passes p = passes_of(in);
  char *memory = static_cast<char*>(in.workspace), *place = memory + p.segments;
  auto take = [&](int64_t bytes) {
    float* at = bytes ? reinterpret_cast<float*>(place) : nullptr;
    place += bytes;
    return at;
  };
  float *dq = take(p.dq_bytes), *dk = take(p.dk_bytes), *dv = take(p.dv_bytes), *last = take(p.last), *first = take(p.first);
  p.dq.q = p.dk.k = p.dv.v = gradient.dz;
  p.dq.z = dq ? dq : gradient.dq;
  p.dk.z = dk ? dk : gradient.dk;
  p.dv.z = dv ? dv : gradient.dv;
  const bool ends = in.g_width > 0 && gradient.dstate;
  if (const cudaError_t e = run_pass(in, p.dq, p.dq_plan, in.state, ends ? last : nullptr, memory, stream)) return e;
  if (const cudaError_t e = run_pass(in, p.dk, p.dk_plan, gradient.dstate, nullptr, memory, stream)) return e;
  if (const cudaError_t e = run_pass(in, p.dv, p.dv_plan, gradient.dstate, gradient.dstate_in ? (first ? first : gradient.dstate_in) : nullptr, memory, stream)) return e;
  const int64_t rows = in.batch * in.positions * in.heads, states = in.batch * in.heads, size = in.d_k * in.d_v;
  if (dq || dk || gradient.dg) gather<<<static_cast<unsigned>((rows + 7) / 8), 256, 0, stream>>>(in, dq, dk, gradient.dq, gradient.dk, in.g_width ? gradient.dg : nullptr);
  if (dv) add_group<<<blocks_for(rows * in.d_v), 256, 0, stream>>>(dv, rows, in.group, in.d_v, gradient.dv, in.element);
  if (first && gradient.dstate_in) add_group<<<blocks_for(states * size), 256, 0, stream>>>(first, states, in.group, size, gradient.dstate_in, Element::kFloat32);
  if (in.g_width && gradient.dg) {
    const dim3 grid(static_cast<unsigned>(states), static_cast<unsigned>(in.g_width > 1 ? (in.g_width + 31) / 32 : 1));
    sum_gates<<<grid, kSumThreads, 0, stream>>>(in, ends ? last : nullptr, gradient.dstate, gradient.dg);
  }
  return cudaGetLastError();
}

}  // namespace microtome::kernels::chunk_linear
