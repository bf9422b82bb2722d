// sparse_codes.h — products with a matrix of codes that is nearly all zero: what a sparse dictionary decodes, and the
// gradients of its weights, without anything as wide as the dictionary. Float32. Sums are in a fixed order, so the same
// numbers give the same bits.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// The entries of a sparse matrix [rows, columns]: entry e lies in row `row[e]`, column `column[e]`, with value[e]. Grouped by row
// (row_from [rows + 1]) and again by column (order [entries]: entries by column, ascending within one; column_from [columns + 1]).
struct SparseCodesView {
  int64_t rows = 0, columns = 0, entries = 0;
  const int64_t* row = nullptr;
  const int64_t* column = nullptr;
  const float* value = nullptr;
  const int64_t* row_from = nullptr;
  const int64_t* order = nullptr;
  const int64_t* column_from = nullptr;
};

// On the CPU, for rows (or columns) from ≤ i < to; any number of threads may do parts.
// out[r, :] += Σ value W[column, :]; W [columns, width], out [rows, width].
void sparse_decode_cpu(const SparseCodesView& c, const float* w, int64_t width, float* out, int64_t from, int64_t to);
// dot[e] = a[row, :] · W[column, :], for the entries of rows from … to.
void sparse_dot_cpu(const SparseCodesView& c, const float* a, const float* w, int64_t width, float* dot, int64_t from, int64_t to);
// out[column, :] += Σ scale[e] a[row, :], for the columns from … to; out [columns, width].
void sparse_scatter_cpu(const SparseCodesView& c, const float* scale, const float* a, int64_t width, float* out, int64_t from, int64_t to);

// The same on a CUDA device, all rows or columns; null or the runtime's sentence. `what`: 0 decode (x unused, y = W), 1 dot (x = a,
// y = W), 2 scatter (x = a, y = scale). Width is a multiple of 4 and everything 16-byte aligned, else "not covered".
using SparseCodesCuda = const char* (*)(int what, const SparseCodesView& c, const float* x, const float* y, int64_t width, float* out, int device, void* stream);
constexpr char kSparseCodesCudaSymbol[] = "microtome_sparse_codes_cuda";

}  // namespace microtome::kernels
