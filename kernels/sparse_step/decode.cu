// A block a row of tokens; a thread takes four neighbouring outputs. Where rows have at most 32 entries, and these fit, their rows of W
// stay in shared memory between the output and the products with its gradient; else they are read twice.
#include <cuda_runtime.h>

#include "kernels/sparse_step/four.cuh"
#include "kernels/sparse_step/sparse_step.h"

namespace microtome::kernels {
namespace {

constexpr int kKept = 32, kStage = 512, kMostThreads = 256;

// Lane e gets the warp's sum of p[e].
template <int kHalf>
__device__ __forceinline__ void halve(float (&p)[32]) {
  const bool upper = threadIdx.x & kHalf;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float keep = upper ? p[i + kHalf] : p[i], send = upper ? p[i] : p[i + kHalf];
    p[i] = keep + __shfl_xor_sync(0xffffffffu, send, kHalf);
  }
}
__device__ __forceinline__ float sums_of_32(float (&p)[32]) {
  halve<16>(p);
  halve<8>(p);
  halve<4>(p);
  halve<2>(p);
  halve<1>(p);
  return p[0];
}

struct Staged {
  int column[kStage];
  float code[kStage];
  int level[kStage];
};

__device__ __forceinline__ void stage(const ChosenCodes& c, int64_t from, int n, Staged& s) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const int column = c.column[from + i];
    float code = 0;
    int level = -1;
    if (column >= 0) {
      code = c.norms ? c.value[from + i] / fmaxf(c.norms[column], 1e-12f) : c.value[from + i];
      level = 0;
      while (column >= c.ends[level]) ++level;
    }
    s.column[i] = column;
    s.code[i] = code;
    s.level[i] = level;
  }
}

// Errors from outputs, in `g` [levels, width]: what level l adds becomes at_out_l. A thread touches its own places alone.
__device__ __forceinline__ void errors(const DecodeStep& d, int64_t r, int64_t i, float4* g, float& all, float& last) {
  const int64_t width4 = d.width / 4;
  const int levels = d.codes.levels;
  const float4 target = __ldg(reinterpret_cast<const float4*>(d.target) + r * width4 + i);
  float4 out = __ldg(reinterpret_cast<const float4*>(d.bias) + i);
  if (d.base) out = add4(out, __ldg(reinterpret_cast<const float4*>(d.base) + r * width4 + i));
  for (int l = 0; l < levels; ++l) {
    out = add4(out, g[l * width4 + i]);
    const float4 e = make_float4(out.x - target.x, out.y - target.y, out.z - target.z, out.w - target.w);
    const float square = dot4(e, e);
    all += square;
    if (l == levels - 1) last += square;
    g[l * width4 + i] = e;
  }
  float4 sum = zero4();
  for (int l = levels; l-- > 0;) {
    sum = fma4(d.factor, g[l * width4 + i], sum);
    g[l * width4 + i] = sum;
    const int64_t place = (l * d.codes.rows + r) * width4 + i;
    reinterpret_cast<float4*>(d.at_out)[place] = sum;
    if (d.at_out_bfloat16) reinterpret_cast<uint2*>(d.at_out_bfloat16)[place] = narrow4(sum);
  }
}

template <class Rows, bool kKeep>
__global__ void __launch_bounds__(kMostThreads, kKeep ? 3 : 2) decode(const __grid_constant__ DecodeStep d) {
  extern __shared__ float4 g[];
  __shared__ Staged s;
  __shared__ float part[kMostThreads / 32][32], scratch[33];
  const ChosenCodes& c = d.codes;
  const int64_t r = blockIdx.x, width4 = d.width / 4;
  const int64_t begin = c.per_row ? r * c.per_row : c.row_from[r], end = c.per_row ? begin + c.per_row : c.row_from[r + 1];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float all = 0, last = 0, count = 0;
  for (int64_t e = begin + threadIdx.x; e < end; e += blockDim.x) count += c.column[e] >= 0;

  if constexpr (kKeep) {
    const int n = static_cast<int>(end - begin);
    stage(c, begin, n, s);
    __syncthreads();
    // Behind `g`: [n, width] as they lie in memory.
    char* kept = reinterpret_cast<char*>(g + c.levels * width4);
    constexpr int kNumber = sizeof(typename Rows::Raw) / 4;
    const int64_t bytes = d.width * kNumber;              // a multiple of 16: see the caller
    const int pieces = static_cast<int>(bytes / 16), team = threadIdx.x / pieces, teams = static_cast<int>(blockDim.x) / pieces;
    auto fetch = [&](int e, int piece) {
      if (s.column[e] >= 0)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(kept + e * bytes + piece * 16))),
                     "l"(static_cast<const char*>(d.w) + s.column[e] * bytes + piece * 16));
    };
    if (teams > 0) {
      if (team < teams)
        for (int e = team; e < n; e += teams) fetch(e, threadIdx.x % pieces);
    } else {
      for (int e = 0; e < n; ++e)
        for (int piece = threadIdx.x; piece < pieces; piece += blockDim.x) fetch(e, piece);
    }
    asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    auto row = [&](int e, int64_t i) { return Rows::wide(reinterpret_cast<const typename Rows::Raw*>(kept + e * bytes)[i]); };
    for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) {
      for (int l = 0; l < c.levels; ++l) {
        float4 sum = zero4();
#pragma unroll 8
        for (int e = 0; e < n; ++e)
          if (s.level[e] == l) sum = fma4(s.code[e], row(e, i), sum);
        g[l * width4 + i] = sum;
      }
      errors(d, r, i, g, all, last);
    }
    float p[kKept];
#pragma unroll
    for (int e = 0; e < kKept; ++e) p[e] = 0;
    // A thread reads what it wrote itself.
    for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) {
      const float4 first = g[i];
#pragma unroll
      for (int e = 0; e < kKept; ++e)
        if (e < n && s.level[e] >= 0) p[e] += dot4(row(e, i), c.levels == 1 ? first : g[s.level[e] * width4 + i]);
    }
    part[warp][lane] = sums_of_32(p);
    __syncthreads();
    if (threadIdx.x < n) {
      float sum = 0;
      for (int w = 0; w < warps; ++w) sum += part[w][threadIdx.x];
      d.at_code[begin + threadIdx.x] = sum;
    }
  } else {
    for (int64_t i = threadIdx.x; i < c.levels * width4; i += blockDim.x) g[i] = zero4();
    for (int64_t from = begin; from < end; from += kStage) {
      const int n = static_cast<int>(end - from < kStage ? end - from : kStage);
      __syncthreads();
      stage(c, from, n, s);
      __syncthreads();
      for (int64_t i = threadIdx.x; i < width4; i += blockDim.x)
        for (int l = 0; l < c.levels; ++l) {
          float4 sum = g[l * width4 + i];
          for (int e = 0; e < n; e += 8) {
            typename Rows::Raw row[8];
#pragma unroll
            for (int u = 0; u < 8; ++u) row[u] = e + u < n && s.level[e + u] == l ? Rows::load(d.w, s.column[e + u] * width4 + i) : Rows::zero();
#pragma unroll
            for (int u = 0; u < 8; ++u) sum = fma4(e + u < n ? s.code[e + u] : 0.0f, Rows::wide(row[u]), sum);
          }
          g[l * width4 + i] = sum;
        }
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < width4; i += blockDim.x) errors(d, r, i, g, all, last);
    for (int64_t from = begin; from < end; from += kStage) {
      const int n = static_cast<int>(end - from < kStage ? end - from : kStage);
      __syncthreads();
      stage(c, from, n, s);
      __syncthreads();
      for (int chunk = 0; chunk < n; chunk += 32) {
        float p[32];
#pragma unroll
        for (int e = 0; e < 32; ++e) p[e] = 0;
        for (int64_t i = threadIdx.x; i < width4; i += blockDim.x)
#pragma unroll
          for (int block = 0; block < 32; block += 8) {
            typename Rows::Raw row[8];
#pragma unroll
            for (int u = 0; u < 8; ++u) {
              const int e = chunk + block + u;
              row[u] = e < n && s.level[e] >= 0 ? Rows::load(d.w, s.column[e] * width4 + i) : Rows::zero();
            }
#pragma unroll
            for (int u = 0; u < 8; ++u) {
              const int e = chunk + block + u;
              if (e < n && s.level[e] >= 0) p[block + u] += dot4(Rows::wide(row[u]), g[s.level[e] * width4 + i]);
            }
          }
        __syncthreads();
        part[warp][lane] = sums_of_32(p);
        __syncthreads();
        if (threadIdx.x < 32 && chunk + threadIdx.x < n) {
          float sum = 0;
          for (int w = 0; w < warps; ++w) sum += part[w][threadIdx.x];
          d.at_code[from + chunk + threadIdx.x] = sum;
        }
      }
    }
  }
  all = block_sum(all, scratch);
  last = block_sum(last, scratch);
  count = block_sum(count, scratch);
  if (threadIdx.x == 0) {
    d.sums[r] = all;
    d.sums[c.rows + r] = last;
    d.sums[2 * c.rows + r] = count;
  }
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_decode_step_cuda(const microtome::kernels::DecodeStep& d, int device, void* stream) {
  using namespace microtome::kernels;
  if (d.width % 4 != 0 || d.width < 4 || d.codes.levels < 1 || d.codes.levels > kMostLevels || d.codes.rows > 65535 || d.codes.features > 0x7fffffff) return "not covered";
  size_t shared = static_cast<size_t>(d.codes.levels * d.width) * sizeof(float);
  if (shared > 160 * 1024) return "not covered";
  for (const void* p : {d.w, static_cast<const void*>(d.bias), static_cast<const void*>(d.base), static_cast<const void*>(d.target), static_cast<const void*>(d.at_out),
                        static_cast<const void*>(d.at_out_bfloat16)})
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return "not covered";
  if (d.codes.rows == 0) return nullptr;
  if (cudaError_t e = cudaSetDevice(device)) return cudaGetErrorString(e);
  const int64_t wanted = (d.width / 4 + 31) / 32 * 32, bytes = d.width * (d.bfloat16 ? 2 : 4);
  const size_t kept = static_cast<size_t>(d.codes.per_row * bytes);
  const bool keep = d.codes.per_row > 0 && d.codes.per_row <= kKept && bytes % 16 == 0 && shared + kept <= 104 * 1024;
  auto kernel = keep ? d.bfloat16 ? decode<BfloatRows, true> : decode<FloatRows, true> : d.bfloat16 ? decode<BfloatRows, false> : decode<FloatRows, false>;
  if (keep) shared += kept;
  if (shared > 32 * 1024)
    if (cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared))) return cudaGetErrorString(e);
  kernel<<<static_cast<unsigned>(d.codes.rows), static_cast<unsigned>(wanted < kMostThreads ? wanted : kMostThreads), shared, static_cast<cudaStream_t>(stream)>>>(d);
  const cudaError_t e = cudaGetLastError();
  return e ? cudaGetErrorString(e) : nullptr;
}
