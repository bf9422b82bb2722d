// sparse_product.h — codes of a batch as a list of their entries, and the three products that training needs of it. On the CPU
// and, where the kernels are there, on the GPU by kernels/sparse_codes; else by operations of LibTorch, row by row of entries.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace microtome {

// Grouped by row, and by column through `order`; see kernels/sparse_codes/sparse_codes.h. Float32.
struct SparseBatch {
  int64_t rows = 0, columns = 0;
  at::Tensor row, column;                    // [entries] int64, ascending rows
  at::Tensor value;                          // [entries]
  at::Tensor row_from, order, column_from;   // [rows + 1], [entries], [columns + 1] int64
};
// flat: row * columns + column of every entry, in any order, no two alike.
SparseBatch sparse_batch(const at::Tensor& flat, const at::Tensor& value, int64_t rows, int64_t columns);

at::Tensor sparse_decode(const SparseBatch& c, const at::Tensor& w);                               // [rows, width] = Σ value · w[column]
at::Tensor sparse_dot(const SparseBatch& c, const at::Tensor& a, const at::Tensor& w);            // [entries] a[row] · w[column]
void sparse_scatter(const SparseBatch& c, const at::Tensor& scale, const at::Tensor& a, at::Tensor& out);   // out[column] += Σ scale · a[row]
at::Tensor sparse_column_sums(const SparseBatch& c, const at::Tensor& scale);                     // [columns] Σ scale

}  // namespace microtome
