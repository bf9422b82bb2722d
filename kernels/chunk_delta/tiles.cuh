// tiles.cuh — products of 16-row tiles on the tensor cores for the three element types, one way of writing for all of them.
//
// A warp's accumulators hold C[16 x 8n]: lane = 4 g + t has (row g, columns 2t and 2t + 1) and (row g + 8, the same columns).
// Such a pair of tiles is turned into the A side of the next product without leaving the registers. With 32-bit operands the
// hardware's places t and t + 4 along k then stand for k = 2t and 2t + 1; the B side is read to match.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace microtome::kernels::delta {

constexpr unsigned kAll = 0xffffffffu;

__device__ __forceinline__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void copy16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void copy4(void* to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 4 : 0));
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;\n"); }
template <int N>
__device__ __forceinline__ void wait_for() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}

__device__ __forceinline__ void matrices(uint32_t (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
__device__ __forceinline__ void matrices_turned(uint32_t (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
__device__ __forceinline__ uint32_t turned(uint32_t x) {
  uint32_t y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(y) : "r"(x));
  return y;
}

template <class T>
struct Range {
  static constexpr bool kNarrow = false;
};
template <>
struct Range<__half> {
  static constexpr bool kNarrow = true;
};

// 16-bit elements.
template <class T>
struct Half {
  using Element = T;
  static constexpr int kBlock = 512;                    // bytes of a 16 x 16 block in fragment order
  static constexpr bool kExact = false;
  static constexpr float kRange = Range<T>::kNarrow ? 8.f : 60.f;   // exp(kRange) is well within the type
  struct A { uint32_t r[4]; };
  struct B { uint32_t r[2]; };

  static __device__ __forceinline__ uint32_t pack(float lo, float hi);
  static __device__ __forceinline__ float2 unpack(uint32_t x);

  static __device__ __forceinline__ A a_of(const float (&x)[4], const float (&y)[4]) {
    return {{pack(x[0], x[1]), pack(x[2], x[3]), pack(y[0], y[1]), pack(y[2], y[3])}};
  }
  // A column g's rows 2t, 2t + 1 (x) and 2t + 8, 2t + 9 (y).
  static __device__ __forceinline__ B b_of(float2 x, float2 y) { return {{pack(x.x, x.y), pack(y.x, y.y)}}; }
  // A[16 x 16] from rows of `pitch` elements.
  static __device__ __forceinline__ A a_rows(const T* p, int pitch, int lane) {
    A a;
    matrices(a.r, p + (lane & 15) * pitch + (lane >> 4) * 8);
    return a;
  }
  // B[16 x 16] as two tiles of 8 columns: from rows that are B's columns, or from rows that are B's rows.
  static __device__ __forceinline__ void b_columns(B (&b)[2], const T* p, int pitch, int lane) {
    uint32_t r[4];
    matrices(r, p + ((lane >> 4) * 8 + (lane & 7)) * pitch + ((lane >> 3) & 1) * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
  static __device__ __forceinline__ void b_rows(B (&b)[2], const T* p, int pitch, int lane) {
    uint32_t r[4];
    matrices_turned(r, p + (lane & 15) * pitch + (lane >> 4) * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
  // Fragment order: what a_of's tiles are as the B side of a product with the block's transpose.
  static __device__ __forceinline__ void store_block(void* to, const float (&x)[4], const float (&y)[4], int lane) {
    static_cast<uint4*>(to)[lane] = make_uint4(pack(x[0], x[1]), pack(y[0], y[1]), pack(x[2], x[3]), pack(y[2], y[3]));
  }
  static __device__ __forceinline__ void load_block(B (&b)[2], const void* from, int lane) {
    const uint4 r = static_cast<const uint4*>(from)[lane];
    b[0].r[0] = r.x, b[0].r[1] = r.y;
    b[1].r[0] = r.z, b[1].r[1] = r.w;
  }
  // The same block as the B side of a product with the block itself.
  static __device__ __forceinline__ void load_block_turned(B (&b)[2], const void* from, int lane) {
    const uint4 r = static_cast<const uint4*>(from)[lane];
    b[0] = {{turned(r.x), turned(r.z)}};
    b[1] = {{turned(r.y), turned(r.w)}};
  }
  static __device__ __forceinline__ void product(float (&c)[4], const A& a, const B& b);

  // c[n] += a b[n] for first <= n < last.
  template <int kCount>
  static __device__ __forceinline__ void products(float (*c)[4], const A& a, const B (&b)[kCount], int first = 0, int last = kCount) {
#pragma unroll
    for (int n = 0; n < kCount; ++n)
      if (n >= first && n < last) product(c[n], a, b[n]);
  }

  // x, y [16 x 8 each] = the transpose of 16 rows of 16.
  static __device__ __forceinline__ void load_turned(float (&x)[4], float (&y)[4], const T* p, int pitch, int lane) {
    uint32_t r[4];
    matrices_turned(r, p + ((lane >> 4) * 8 + (lane & 7)) * pitch + ((lane >> 3) & 1) * 8);
    float2 f = unpack(r[0]);
    x[0] = f.x, x[1] = f.y;
    f = unpack(r[1]);
    x[2] = f.x, x[3] = f.y;
    f = unpack(r[2]);
    y[0] = f.x, y[1] = f.y;
    f = unpack(r[3]);
    y[2] = f.x, y[3] = f.y;
  }
  static __device__ __forceinline__ void store_pair(T* p, float x, float y, bool both) {
    if ((reinterpret_cast<uintptr_t>(p) & 3) == 0 && both) {
      *reinterpret_cast<uint32_t*>(p) = pack(x, y);
    } else {
      p[0] = T(x);
      if (both) p[1] = T(y);
    }
  }
  // The other way: 8 rows of 16 from x [16 x 8].
  static __device__ __forceinline__ void store_turned(T* p, int pitch, const float (&x)[4], int lane) {
    uint32_t* to = reinterpret_cast<uint32_t*>(p + (lane >> 2) * pitch + (lane & 3) * 2);
    to[0] = turned(pack(x[0], x[1]));
    to[4] = turned(pack(x[2], x[3]));
  }
};

template <>
__device__ __forceinline__ uint32_t Half<__nv_bfloat16>::pack(float lo, float hi) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(lo, hi);
  return *reinterpret_cast<const uint32_t*>(&h);
}
template <>
__device__ __forceinline__ float2 Half<__nv_bfloat16>::unpack(uint32_t x) {
  return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
}
template <>
__device__ __forceinline__ void Half<__nv_bfloat16>::product(float (&c)[4], const A& a, const B& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}
template <>
__device__ __forceinline__ uint32_t Half<__half>::pack(float lo, float hi) {
  const __half2 h = __floats2half2_rn(lo, hi);
  return *reinterpret_cast<const uint32_t*>(&h);
}
template <>
__device__ __forceinline__ float2 Half<__half>::unpack(uint32_t x) {
  return __half22float2(*reinterpret_cast<const __half2*>(&x));
}
template <>
__device__ __forceinline__ void Half<__half>::product(float (&c)[4], const A& a, const B& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}

// float32. Exact: each operand is the sum of two TF32 numbers and the product leaves out only the smallest of four terms.
template <bool kAll3>
struct Single {
  using Element = float;
  static constexpr bool kExact = kAll3;
  static constexpr float kRange = 60.f;
  static constexpr int kBlock = 1024;
  static constexpr int kParts = kExact ? 2 : 1;
  struct A { uint32_t r[2][kParts][4]; };               // two steps of k 8
  struct B { float r[2][2]; };

  static __device__ __forceinline__ uint32_t tf32(float x) {
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(r) : "f"(x));
    return r;
  }
  // x = high + low up to 2^-22 |x|, by integer operations, which are four times as fast as conversions. NaN stays in low.
  static __device__ __forceinline__ void parts_of(float x, uint32_t& high, uint32_t& low) {
    high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
    low = __float_as_uint(x - __uint_as_float(high)) & 0xffffe000u;
  }
  static __device__ __forceinline__ void split(A& a, int step, int place, float x) {
    if constexpr (kExact) parts_of(x, a.r[step][0][place], a.r[step][1][place]);
    else a.r[step][0][place] = tf32(x);
  }
  static __device__ __forceinline__ A a_of(const float (&x)[4], const float (&y)[4]) {
    A a;
    split(a, 0, 0, x[0]), split(a, 0, 1, x[2]), split(a, 0, 2, x[1]), split(a, 0, 3, x[3]);
    split(a, 1, 0, y[0]), split(a, 1, 1, y[2]), split(a, 1, 2, y[1]), split(a, 1, 3, y[3]);
    return a;
  }
  static __device__ __forceinline__ B b_of(float2 x, float2 y) { return {{{x.x, x.y}, {y.x, y.y}}}; }
  static __device__ __forceinline__ A a_rows(const float* p, int pitch, int lane) {
    const float* row = p + (lane >> 2) * pitch + (lane & 3) * 2;
    A a;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const float2 up = *reinterpret_cast<const float2*>(row + 8 * step), down = *reinterpret_cast<const float2*>(row + 8 * pitch + 8 * step);
      split(a, step, 0, up.x), split(a, step, 1, down.x), split(a, step, 2, up.y), split(a, step, 3, down.y);
    }
    return a;
  }
  static __device__ __forceinline__ void b_columns(B (&b)[2], const float* p, int pitch, int lane) {
    const float* row = p + (lane >> 2) * pitch + (lane & 3) * 2;
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const float2 f = *reinterpret_cast<const float2*>(row + 8 * n * pitch + 8 * step);
        b[n].r[step][0] = f.x, b[n].r[step][1] = f.y;
      }
  }
  static __device__ __forceinline__ void b_rows(B (&b)[2], const float* p, int pitch, int lane) {
    const float* row = p + (lane & 3) * 2 * pitch + (lane >> 2);
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int step = 0; step < 2; ++step) b[n].r[step][0] = row[8 * step * pitch + 8 * n], b[n].r[step][1] = row[(8 * step + 1) * pitch + 8 * n];
  }
  static __device__ __forceinline__ void store_block(void* to, const float (&x)[4], const float (&y)[4], int lane) {
    static_cast<float4*>(to)[lane] = make_float4(x[0], x[1], x[2], x[3]);
    static_cast<float4*>(to)[lane + 32] = make_float4(y[0], y[1], y[2], y[3]);
  }
  static __device__ __forceinline__ void load_block(B (&b)[2], const void* from, int lane) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const float4 f = static_cast<const float4*>(from)[lane + 32 * step];
      b[0].r[step][0] = f.x, b[0].r[step][1] = f.y, b[1].r[step][0] = f.z, b[1].r[step][1] = f.w;
    }
  }
  static __device__ __forceinline__ void load_block_turned(B (&b)[2], const void* from, int lane) {
    const float* f = static_cast<const float*>(from) + 32 * (lane & 3) + 4 * (lane >> 3) + ((lane >> 2) & 1);
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int step = 0; step < 2; ++step) b[n].r[step][0] = f[128 * n + 2 * step], b[n].r[step][1] = f[128 * n + 2 * step + 16];
  }
  static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  // Term after term over all tiles: the terms of one tile wait for one another.
  template <int kCount>
  static __device__ __forceinline__ void products(float (*c)[4], const A& a, const B (&b)[kCount], int first = 0, int last = kCount) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      uint32_t high[kCount][2], low[kCount][2];
#pragma unroll
      for (int n = 0; n < kCount; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (n < first || n >= last) continue;
          if constexpr (kExact) parts_of(b[n].r[step][i], high[n][i], low[n][i]);
          else high[n][i] = tf32(b[n].r[step][i]);
        }
      if constexpr (kExact) {
#pragma unroll
        for (int n = 0; n < kCount; ++n)
          if (n >= first && n < last) multiply(c[n], a.r[step][1], high[n][0], high[n][1]);
#pragma unroll
        for (int n = 0; n < kCount; ++n)
          if (n >= first && n < last) multiply(c[n], a.r[step][0], low[n][0], low[n][1]);
      }
#pragma unroll
      for (int n = 0; n < kCount; ++n)
        if (n >= first && n < last) multiply(c[n], a.r[step][0], high[n][0], high[n][1]);
    }
  }
  static __device__ __forceinline__ void product(float (&c)[4], const A& a, const B& b) {
    const B one[1] = {b};
    products<1>(&c, a, one);
  }
  static __device__ __forceinline__ void load_turned(float (&x)[4], float (&y)[4], const float* p, int pitch, int lane) {
    const float* from = p + (lane & 3) * 2 * pitch + (lane >> 2);
    x[0] = from[0], x[1] = from[pitch], x[2] = from[8], x[3] = from[pitch + 8];
    from += 8 * pitch;
    y[0] = from[0], y[1] = from[pitch], y[2] = from[8], y[3] = from[pitch + 8];
  }
  static __device__ __forceinline__ void store_pair(float* p, float x, float y, bool both) {
    p[0] = x;
    if (both) p[1] = y;
  }
  static __device__ __forceinline__ void store_turned(float* p, int pitch, const float (&x)[4], int lane) {
    float* to = p + (lane & 3) * 2 * pitch + (lane >> 2);
    to[0] = x[0], to[pitch] = x[1], to[8] = x[2], to[pitch + 8] = x[3];
  }
};

// Rows of one head in an array: element (token, i) of head (b, h) is at[b * b_stride + h * h_stride + token * t_stride + i].
template <class E>
struct Rows {
  E* at;
  int64_t b_stride, h_stride, t_stride;
  __device__ __forceinline__ E* of(int64_t b, int64_t h) const { return at + b * b_stride + h * h_stride; }
};

// Starts copying `rows` rows of `width` elements into rows of `pitch`; places up to `columns` and rows up to 64 become zero.
template <class E>
__device__ __forceinline__ void copy_rows(E* to, int pitch, const E* from, int64_t stride, int rows, int width, int columns, int thread, int threads) {
  constexpr int kPiece = 16 / sizeof(E);
  if (((reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(stride * sizeof(E)) | (width * sizeof(E))) & 15) == 0) {
    const int pieces = columns / kPiece;
    int r = thread / pieces, c = thread % pieces;
    const int dr = threads / pieces, dc = threads % pieces;
    while (r < 64) {
      const bool valid = r < rows && c * kPiece < width;
      copy16(to + r * pitch + c * kPiece, valid ? from + r * stride + c * kPiece : from, valid);
      r += dr, c += dc;
      if (c >= pieces) c -= pieces, ++r;
    }
  } else {
    for (int i = thread; i < 64 * columns; i += threads) {
      const int r = i / columns, c = i % columns;
      to[r * pitch + c] = r < rows && c < width ? from[r * stride + c] : E(0.f);
    }
  }
}

// 16 columns of `rows` rows from shared memory, by one warp; only `width` of the columns are there.
template <class E>
__device__ __forceinline__ void store_columns(E* to, int64_t stride, int rows, int width, const E* from, int pitch, int lane) {
  constexpr int kPiece = 16 / sizeof(E), kRow = 16 / kPiece;
  if (width >= 16 && ((reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(stride * sizeof(E))) & 15) == 0) {
#pragma unroll
    for (int i = lane; i < 64 * kRow; i += 32) {
      const int t = i / kRow, p = i % kRow * kPiece;
      if (t < rows) *reinterpret_cast<uint4*>(to + t * stride + p) = *reinterpret_cast<const uint4*>(from + t * pitch + p);
    }
  } else {
    for (int i = lane; i < 64 * 16; i += 32)
      if (i / 16 < rows && i % 16 < width) to[i / 16 * stride + i % 16] = from[i / 16 * pitch + i % 16];
  }
}

__device__ __forceinline__ void copy_bytes(void* to, const void* from, int bytes, int thread, int threads) {
  for (int i = thread * 16; i < bytes; i += threads * 16) copy16(static_cast<char*>(to) + i, static_cast<const char*>(from) + i, true);
}

// Products of a warp's 16 rows with 64 x 64 tiles in shared memory.
// c += a R^T, R 64 rows of which `rows` is the place of 16 columns.
template <class N>
__device__ __forceinline__ void times_columns(float (&c)[8][4], const typename N::A& a, const typename N::Element* rows, int pitch, int lane) {
  typename N::B b[8];
#pragma unroll
  for (int n = 0; n < 4; ++n) N::b_columns(*reinterpret_cast<typename N::B(*)[2]>(b + 2 * n), rows + n * 16 * pitch, pitch, lane);
  N::template products<8>(c, a, b);
}
// c += a R, R 16 rows.
template <class N, int kTiles>
__device__ __forceinline__ void times_rows(float (*c)[4], const typename N::A& a, const typename N::Element* rows, int pitch, int lane) {
  constexpr int kTogether = kTiles < 8 ? kTiles : 8;
#pragma unroll
  for (int i = 0; i < kTiles; i += kTogether) {
    typename N::B b[kTogether];
#pragma unroll
    for (int n = 0; n < kTogether / 2; ++n) N::b_rows(*reinterpret_cast<typename N::B(*)[2]>(b + 2 * n), rows + i * 8 + n * 16, pitch, lane);
    N::template products<kTogether>(c + i, a, b);
  }
}
// Blocks (t, s), s <= t, of a lower triangular 64 x 64 matrix in fragment order.
__host__ __device__ constexpr int block_at(int t, int s) { return t * (t + 1) / 2 + s; }
constexpr int kBlocks = 10;
constexpr int kTokens = 64;

// c += x R^T, x as left sides, R lower triangular in fragment order.
template <class N>
__device__ __forceinline__ void times_triangle(float (&c)[8][4], const typename N::A (&x)[4], const char* triangle, int lane) {
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    typename N::B b[8];
#pragma unroll
    for (int t = m; t < 4; ++t) N::load_block(*reinterpret_cast<typename N::B(*)[2]>(b + 2 * t), triangle + block_at(t, m) * N::kBlock, lane);
    N::template products<8>(c, x[m], b, 2 * m);
  }
}
// c += x R.
template <class N>
__device__ __forceinline__ void times_triangle_turned(float (&c)[8][4], const typename N::A (&x)[4], const char* triangle, int lane) {
#pragma unroll
  for (int t = 3; t >= 0; --t) {
    typename N::B b[8];
#pragma unroll
    for (int m = 0; m <= t; ++m) N::load_block_turned(*reinterpret_cast<typename N::B(*)[2]>(b + 2 * m), triangle + block_at(t, m) * N::kBlock, lane);
    N::template products<8>(c, x[t], b, 0, 2 * t + 2);
  }
}

}  // namespace microtome::kernels::delta
