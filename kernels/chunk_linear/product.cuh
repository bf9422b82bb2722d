// Products on tensor cores: 16 × 8 tiles of float32 sums over 16 places at a time, operands from shared memory.
//
// A tile's sums lie in a warp as mma.sync leaves them: lane = 4 g + t has rows g and g + 8, columns 2 t and 2 t + 1.
// 16-bit operands are one m16n8k16. Float32 operands are two m16n8k8, the first over places 0–7, the second over 8–15, where a
// lane's two places of a product are neighbours (2 t, 2 t + 1): sums then become a left operand without changing lanes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace microtome::kernels::chunk_linear {

// Kinds of operands. kWide: float32 in memory. kSplit: an operand is the sum of two TF32 numbers (three products, float32
// accuracy).
struct BFloat16 {
  using Type = __nv_bfloat16;
  static constexpr bool kWide = false, kSplit = false;
};
struct Float16 {
  using Type = __half;
  static constexpr bool kWide = false, kSplit = false;
};
struct Tf32 {
  using Type = float;
  static constexpr bool kWide = true, kSplit = false;
};
struct Float32 {
  using Type = float;
  static constexpr bool kWide = true, kSplit = true;
};

template <class E>
__device__ __forceinline__ float to_float(typename E::Type x) {
  if constexpr (E::kWide) return x;
  else if constexpr (sizeof(typename E::Type) == 2 && std::is_same_v<typename E::Type, __half>) return __half2float(x);
  else return __bfloat162float(x);
}
template <class E>
__device__ __forceinline__ typename E::Type from_float(float x) {
  if constexpr (E::kWide) return x;
  else if constexpr (std::is_same_v<typename E::Type, __half>) return __float2half_rn(x);
  else return __float2bfloat16_rn(x);
}
// Two neighbours of a 16-bit type in one register, the first one low.
template <class E>
__device__ __forceinline__ uint32_t pack(float a, float b) {
  uint32_t out;
  if constexpr (std::is_same_v<typename E::Type, __half>) asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(b), "f"(a));
  else asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(b), "f"(a));
  return out;
}
template <class E>
__device__ __forceinline__ float2 unpack(uint32_t x) {
  if constexpr (std::is_same_v<typename E::Type, __half>) return __half22float2(*reinterpret_cast<const __half2*>(&x));
  else return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
}

__device__ __forceinline__ uint32_t tf32(float x) {
  uint32_t out;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(x));
  return out;
}

template <class E>
struct Left {                 // 16 rows × 16 places
  static constexpr int kWords = E::kWide ? 8 : 4;
  uint32_t w[kWords];         // float32: bits of floats until settle() makes them TF32
  uint32_t low[E::kSplit ? kWords : 1];
  __device__ __forceinline__ void settle() {
    if constexpr (E::kWide) {
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        const float x = __uint_as_float(w[i]);
        w[i] = tf32(x);
        if constexpr (E::kSplit) low[i] = tf32(x - __uint_as_float(w[i]));
      }
    }
  }
};
template <class E>
struct Right {                // 16 places × 8 columns
  static constexpr int kWords = E::kWide ? 4 : 2;
  uint32_t w[kWords];
  uint32_t low[E::kSplit ? kWords : 1];
  __device__ __forceinline__ void settle() {
    if constexpr (E::kWide) {
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        const float x = __uint_as_float(w[i]);
        w[i] = tf32(x);
        if constexpr (E::kSplit) low[i] = tf32(x - __uint_as_float(w[i]));
      }
    }
  }
};

__device__ __forceinline__ void mma8(float (&c)[4], const uint32_t* a, const uint32_t* b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <class E>
__device__ __forceinline__ void multiply(float (&c)[4], const Left<E>& a, const Right<E>& b) {
  if constexpr (E::kWide) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if constexpr (E::kSplit) {
        mma8(c, a.low + 4 * m, b.w + 2 * m);
        mma8(c, a.w + 4 * m, b.low + 2 * m);
      }
      mma8(c, a.w + 4 * m, b.w + 2 * m);
    }
  } else if constexpr (std::is_same_v<typename E::Type, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b.w[0]), "r"(b.w[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b.w[0]), "r"(b.w[1]));
  }
}

template <bool kTransposed>
__device__ __forceinline__ void matrices(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d, const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(at) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(at) : "memory");
}

// Rows row.. of a tile [row][place], places place..; float32 is not settled.
template <class E>
__device__ __forceinline__ void left_rows(Left<E>& a, const typename E::Type* tile, int pitch, int row, int place, int lane) {
  if constexpr (E::kWide) {
    const float* p = tile + (row + (lane >> 2)) * pitch + place + 2 * (lane & 3);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float2 x = *reinterpret_cast<const float2*>(p + 8 * m), y = *reinterpret_cast<const float2*>(p + 8 * pitch + 8 * m);
      a.w[4 * m] = __float_as_uint(x.x);
      a.w[4 * m + 1] = __float_as_uint(y.x);
      a.w[4 * m + 2] = __float_as_uint(x.y);
      a.w[4 * m + 3] = __float_as_uint(y.y);
    }
  } else {
    matrices<false>(a.w[0], a.w[1], a.w[2], a.w[3], tile + (row + (lane & 15)) * pitch + place + (lane >> 4) * 8);
  }
}
// The same of a tile [place][row].
template <class E>
__device__ __forceinline__ void left_columns(Left<E>& a, const typename E::Type* tile, int pitch, int row, int place, int lane) {
  if constexpr (E::kWide) {
    const float* p = tile + (place + 2 * (lane & 3)) * pitch + row + (lane >> 2);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float* x = p + 8 * m * pitch;
      a.w[4 * m] = __float_as_uint(x[0]);
      a.w[4 * m + 1] = __float_as_uint(x[8]);
      a.w[4 * m + 2] = __float_as_uint(x[pitch]);
      a.w[4 * m + 3] = __float_as_uint(x[pitch + 8]);
    }
  } else {
    matrices<true>(a.w[0], a.w[1], a.w[2], a.w[3], tile + (place + (lane & 7) + ((lane >> 4) & 1) * 8) * pitch + row + ((lane >> 3) & 1) * 8);
  }
}
// 16 columns from a tile [column][place].
template <class E>
__device__ __forceinline__ void right_rows(Right<E> (&b)[2], const typename E::Type* tile, int pitch, int column, int place, int lane) {
  if constexpr (E::kWide) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float* p = tile + (column + 8 * n + (lane >> 2)) * pitch + place + 2 * (lane & 3);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float2 x = *reinterpret_cast<const float2*>(p + 8 * m);
        b[n].w[2 * m] = __float_as_uint(x.x);
        b[n].w[2 * m + 1] = __float_as_uint(x.y);
      }
      b[n].settle();
    }
  } else {
    matrices<false>(b[0].w[0], b[0].w[1], b[1].w[0], b[1].w[1], tile + (column + (lane & 7) + ((lane >> 4) & 1) * 8) * pitch + place + ((lane >> 3) & 1) * 8);
  }
}
// 16 columns from a tile [place][column].
template <class E>
__device__ __forceinline__ void right_columns(Right<E> (&b)[2], const typename E::Type* tile, int pitch, int column, int place, int lane) {
  if constexpr (E::kWide) {
    const float* p = tile + (place + 2 * (lane & 3)) * pitch + column + (lane >> 2);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        b[n].w[2 * m] = __float_as_uint(p[8 * m * pitch + 8 * n]);
        b[n].w[2 * m + 1] = __float_as_uint(p[(8 * m + 1) * pitch + 8 * n]);
      }
      b[n].settle();
    }
  } else {
    matrices<true>(b[0].w[0], b[0].w[1], b[1].w[0], b[1].w[1], tile + (place + (lane & 15)) * pitch + column + (lane >> 4) * 8);
  }
}

// Sums of two neighbouring tiles as a left operand.
template <class E>
__device__ __forceinline__ void left_of_sums(Left<E>& a, const float (&x)[4], const float (&y)[4]) {
  if constexpr (E::kWide) {
    a.w[0] = __float_as_uint(x[0]);
    a.w[1] = __float_as_uint(x[2]);
    a.w[2] = __float_as_uint(x[1]);
    a.w[3] = __float_as_uint(x[3]);
    a.w[4] = __float_as_uint(y[0]);
    a.w[5] = __float_as_uint(y[2]);
    a.w[6] = __float_as_uint(y[1]);
    a.w[7] = __float_as_uint(y[3]);
  } else {
    a.w[0] = pack<E>(x[0], x[1]);
    a.w[1] = pack<E>(x[2], x[3]);
    a.w[2] = pack<E>(y[0], y[1]);
    a.w[3] = pack<E>(y[2], y[3]);
  }
  a.settle();
}

// Multiplies a left operand by a number a place, before settle(): f[0], f[1] of places 2 t, 2 t + 1, f[2], f[3] of those 8 later.
// Where the number is zero the product is, whatever it is of.
template <class E>
__device__ __forceinline__ void scale_places(Left<E>& a, const float (&f)[4]) {
  auto times = [](float x, float y) { return y == 0.f ? 0.f : x * y; };
  if constexpr (E::kWide) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) a.w[4 * m + i] = __float_as_uint(times(__uint_as_float(a.w[4 * m + i]), f[2 * m + (i >> 1)]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = unpack<E>(a.w[i]);
      a.w[i] = pack<E>(times(x.x, f[2 * (i >> 1)]), times(x.y, f[2 * (i >> 1) + 1]));
    }
  }
}

}  // namespace microtome::kernels::chunk_linear
