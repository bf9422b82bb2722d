#include "kernels/sparse_codes/sparse_codes.h"

namespace microtome::kernels {

void sparse_decode_cpu(const SparseCodesView& c, const float* w, int64_t width, float* out, int64_t from, int64_t to) {
  for (int64_t r = from; r < to; ++r) {
    float* __restrict y = out + r * width;
    for (int64_t e = c.row_from[r]; e < c.row_from[r + 1]; ++e) {
      const float v = c.value[e];
      const float* __restrict x = w + c.column[e] * width;
      for (int64_t i = 0; i < width; ++i) y[i] += v * x[i];
    }
  }
}

void sparse_dot_cpu(const SparseCodesView& c, const float* a, const float* w, int64_t width, float* dot, int64_t from, int64_t to) {
  for (int64_t r = from; r < to; ++r) {
    const float* __restrict x = a + r * width;
    for (int64_t e = c.row_from[r]; e < c.row_from[r + 1]; ++e) {
      const float* __restrict y = w + c.column[e] * width;
      // Sixteen running sums: the compiler may not reorder a float sum by itself.
      float part[16] = {};
      int64_t i = 0;
      for (; i + 16 <= width; i += 16)
        for (int64_t k = 0; k < 16; ++k) part[k] += x[i + k] * y[i + k];
      float sum = 0;
      for (; i < width; ++i) sum += x[i] * y[i];
      for (float p : part) sum += p;
      dot[e] = sum;
    }
  }
}

void sparse_scatter_cpu(const SparseCodesView& c, const float* scale, const float* a, int64_t width, float* out, int64_t from, int64_t to) {
  for (int64_t column = from; column < to; ++column) {
    float* __restrict y = out + column * width;
    for (int64_t p = c.column_from[column]; p < c.column_from[column + 1]; ++p) {
      const int64_t e = c.order[p];
      const float v = scale[e];
      const float* __restrict x = a + c.row[e] * width;
      for (int64_t i = 0; i < width; ++i) y[i] += v * x[i];
    }
  }
}

}  // namespace microtome::kernels
