// Which passes a call is made of; segments; what is left to do behind the passes.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/chunk/chunk.h"
#include "kernels/chunk_linear/pass.h"

namespace microtome::kernels::chunk_linear {

Layout layout_of(bool wide, int d_k, int d_v, Decay decay, int64_t shared_limit) {
  Layout at;
  if (d_k < 1 || d_v < 1 || d_k > 256 || d_v > 256) return at;
  at.keys = d_k <= 64 ? 64 : d_k <= 128 ? 128 : 256;
  at.columns = !wide && at.keys == 128 && d_v > 64 ? 128 : 64;
  at.parts = (d_v + at.columns - 1) / at.columns;
  // As in pass.cuh, Shared.
  const int64_t size = wide ? 4 : 2, rows = at.keys + 8, columns = at.columns + (wide ? 4 : 8);
  const int64_t gate = decay == kRows ? at.keys : decay == kColumns ? at.columns : 0;
  const int64_t stage = 64 * (2 * rows + columns) * size + 64 * gate * 4, state = at.keys * columns * size;
  const int64_t rest = (decay == kAll ? 5 * (8 * 64 + 4) * 4 : gate ? (128 * at.halves + gate) * 4 : 0) + (gate ? 8 * 4 * at.columns * 4 : 0);
  for (auto [stages, states] : {std::pair{2, 2}, std::pair{2, 1}, std::pair{1, 1}}) {
    at.stages = stages;
    at.states = states;
    if (stages * stage + states * state + rest <= shared_limit) {
      at.bytes = stages * stage + states * state + rest;
      return at;
    }
  }
  return at;
}

namespace {

constexpr int kChunk = 64, kFewBlocks = 132, kLeastSegment = 2;   // kFewBlocks: of a large GPU; not asked for, so that sums are alike everywhere
constexpr int kSegmentBlocks = 256;

__host__ __device__ int width_of(const Pass& p) { return p.decay == kRows ? p.d_k : p.decay == kColumns ? p.d_v : p.decay == kAll ? 1 : 0; }

// sums[bh, segment, i]: exp of the sum of the gates that a segment's tokens see, in their order or reversed.
__global__ void segment_decay(const Pass p, const int width, float* out) {
  const int64_t id = blockIdx.x, segment = id % p.segments, bh = id / p.segments, b = bh / p.heads, h = bh % p.heads / (p.heads / p.g_heads), T = p.positions;
  const int64_t from = segment * p.segment_chunks * kChunk, to = min(T, from + static_cast<int64_t>(p.segment_chunks) * kChunk);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    double sum = 0;
    for (int64_t at = from; at < to; ++at) {
      const int64_t token = p.reverse ? T - at : at;
      if (token >= T) continue;
      const float g = p.g[((b * T + token) * p.g_heads + h) * width + i];
      sum += g < -1e4f ? -1e4f : g;
    }
    out[id * width + i] = static_cast<float>(exp(sum));
  }
}

// States behind segments that began with nothing become the states that segments begin with.
__global__ void join_segments(const Pass p, const int width, const float* decay, float* states, const float* first) {
  const int64_t size = static_cast<int64_t>(p.d_k) * p.d_v, bh = blockIdx.y, share = p.heads / p.in_heads, b = bh / p.heads, h = bh % p.heads;
  if (h % share) first = nullptr;
  else if (first) first += (b * p.in_heads + h / share) * size;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < size; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t row = i / p.d_v, col = i % p.d_v;
    float x = first ? p.in_scale * first[p.in_transposed ? col * p.d_k + row : i] : 0.f;
    for (int64_t s = 0; s < p.segments; ++s) {
      float* at = states + (bh * p.segments + s) * size + i;
      const float own = *at, a = width == 0 ? 1.f : decay[(bh * p.segments + s) * width + (p.decay == kRows ? row : p.decay == kColumns ? col : 0)];
      *at = x;
      x = a * x + own;
    }
  }
}

__global__ void join_squares(const float* squares, int groups, int64_t rows, float* norms) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= rows) return;
  float sum = 0;
  for (int n = 0; n < groups; ++n) sum += squares[n * rows + i];
  norms[i] = sqrtf(sum);
}

}  // namespace

int64_t shared_limit() {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  if (cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return most;
}

Plan plan_of(const Pass& p, bool wide, int64_t limit) {
  Plan out;
  out.at = layout_of(wide, p.d_k, p.d_v, p.decay, limit);
  const int64_t chunks = (p.positions + kChunk - 1) / kChunk, heads = static_cast<int64_t>(p.batch) * p.heads, blocks = heads * p.group * out.at.parts;
  out.segment_chunks = static_cast<int>(chunks);
  if (blocks > 0 && blocks * 2 <= kFewBlocks && chunks >= 2 * kLeastSegment) {
    const int64_t want = std::min((kSegmentBlocks + blocks - 1) / blocks, chunks / kLeastSegment);
    out.segment_chunks = static_cast<int>((chunks + want - 1) / want);
    out.segments = static_cast<int>((chunks + out.segment_chunks - 1) / out.segment_chunks);
  }
  if (out.segments > 1) {
    out.states = up(heads * out.segments * p.d_k * p.d_v * 4);
    out.decays = up(heads * out.segments * width_of(p) * 4);
  }
  return out;
}

namespace {

Decay decay_of(const Chunk& in) { return in.g_width == 0 ? kNone : in.g_width == 1 ? kAll : kRows; }

}  // namespace

bool covered(const Chunk& in) {
  if (in.beta || (in.g_width > 1 && in.g_width != in.d_k) || (in.g_width > 1 && in.element == Element::kFloat16)) return false;
  return in.positions < (int64_t{1} << 30) && in.batch * in.heads * in.group < (int64_t{1} << 24);
}

namespace {

cudaError_t start(const Chunk& in, const Pass& p, cudaStream_t stream) {
  switch (in.element) {
    case Element::kBFloat16: return start_bfloat16(p, stream);
    case Element::kFloat16: return start_float16(p, stream);
    default: return in.tf32 ? start_tf32(p, stream) : start_float32(p, stream);
  }
}

}  // namespace

cudaError_t run_pass(const Chunk& in, Pass p, const Plan& plan, const float* first, float* last, char* memory, cudaStream_t stream) {
  p.segments = plan.segments;
  p.segment_chunks = plan.segment_chunks;
  p.out_whole = true;
  if (plan.segments == 1) {
    p.state_in = first;
    p.in_whole = true;
    p.state_out = last;
    return start(in, p, stream);
  }
  float *states = reinterpret_cast<float*>(memory), *decays = reinterpret_cast<float*>(memory + plan.states);
  const int width = width_of(p);
  Pass alone = p;                                                 // keys and values only
  alone.q = nullptr;
  alone.z = nullptr;
  alone.kept = alone.written = alone.write_norm = alone.pattern = alone.read_squares = nullptr;
  alone.state_out = states;
  alone.out_whole = false;
  alone.state_in = nullptr;
  if (const cudaError_t e = start(in, alone, stream)) return e;
  const int64_t heads = static_cast<int64_t>(p.batch) * p.heads;
  if (width) segment_decay<<<static_cast<unsigned>(heads * p.segments), width == 1 ? 32 : 128, 0, stream>>>(p, width, decays);
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(64, (static_cast<int64_t>(p.d_k) * p.d_v + 255) / 256)), static_cast<unsigned>(heads));
  join_segments<<<grid, 256, 0, stream>>>(p, width, decays, states, first);
  if (const cudaError_t e = cudaGetLastError()) return e;
  p.state_in = states;
  p.in_transposed = false;
  p.state_out = last;
  return start(in, p, stream);
}

Pass pass_of(const Chunk& in) {
  Pass p;
  p.batch = static_cast<int>(in.batch);
  p.positions = static_cast<int>(in.positions);
  p.heads = static_cast<int>(in.heads);
  p.group = static_cast<int>(in.group);
  p.d_k = static_cast<int>(in.d_k);
  p.d_v = static_cast<int>(in.d_v);
  p.q = in.q;
  p.k = in.k;
  p.v = in.v;
  p.g = in.g;
  p.q_heads = p.heads * p.group;
  p.k_heads = p.v_heads = p.g_heads = p.in_heads = p.heads;
  p.decay = decay_of(in);
  p.scale = static_cast<float>(in.scale);
  return p;
}

namespace {

cudaError_t forward(const Chunk& in, cudaStream_t stream) {
  char* memory = static_cast<char*>(in.workspace);
  Pass p = pass_of(in);
  const Plan plan = plan_of(p, in.element == Element::kFloat32, shared_limit());
  if (!in.z) p.q = nullptr;
  p.z = in.z;
  p.kept = in.kept;
  p.kept_count = in.kept_count;
  p.slots = in.slots;
  p.written = in.written;
  p.write_norm = in.write_norm;
  p.pattern = in.pattern;
  if (in.read_norm) p.read_squares = reinterpret_cast<float*>(memory + plan.bytes());
  if (const cudaError_t e = run_pass(in, p, plan, in.state, in.state, memory, stream)) return e;
  if (in.read_norm) {
    const int64_t rows = in.batch * in.positions * in.heads * in.group;
    join_squares<<<static_cast<unsigned>((rows + 255) / 256), 256, 0, stream>>>(p.read_squares, plan.at.halves * plan.at.parts, rows, in.read_norm);
  }
  return cudaGetLastError();
}

}  // namespace
}  // namespace microtome::kernels::chunk_linear

extern "C" int64_t microtome_chunk_linear_workspace(const microtome::kernels::Chunk& in, bool backward) {
  using namespace microtome::kernels;
  using namespace microtome::kernels::chunk_linear;
  if (!covered(in)) return -1;
  if (backward) return backward_workspace(in);
  const Plan plan = plan_of(pass_of(in), in.element == Element::kFloat32, shared_limit());
  return plan.at.bytes < 0 ? -1 : plan.bytes() + (in.read_norm ? plan.at.halves * plan.at.parts * in.batch * in.positions * in.heads * in.group * 4 : 0);
}

extern "C" const char* microtome_chunk_linear_forward(const microtome::kernels::Chunk& in, int device, void* stream) {
  using namespace microtome::kernels;
  if (in.batch * in.heads == 0 || in.positions == 0) return nullptr;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) e = chunk_linear::covered(in) ? chunk_linear::forward(in, static_cast<cudaStream_t>(stream)) : cudaErrorNotSupported;
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

extern "C" const char* microtome_chunk_linear_backward(const microtome::kernels::ChunkGradient& gradient, int device, void* stream) {
  using namespace microtome::kernels;
  if (gradient.in.batch * gradient.in.heads == 0 || gradient.in.positions == 0) return nullptr;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) e = chunk_linear::backward_workspace(gradient.in) >= 0 ? chunk_linear::backward(gradient, static_cast<cudaStream_t>(stream)) : cudaErrorNotSupported;
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}
