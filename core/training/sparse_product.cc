#include "core/training/sparse_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>


#include "core/training/gpu_call.h"
#include "kernels/sparse_codes/sparse_codes.h"

namespace microtome {
namespace {

kernels::SparseCodesView view(const SparseBatch& c) {
  kernels::SparseCodesView v;
  v.rows = c.rows;
  v.columns = c.columns;
  v.entries = c.row.size(0);
  v.row = c.row.const_data_ptr<int64_t>();
  v.column = c.column.const_data_ptr<int64_t>();
  v.value = c.value.const_data_ptr<float>();
  v.row_from = c.row_from.const_data_ptr<int64_t>();
  v.order = c.order.const_data_ptr<int64_t>();
  v.column_from = c.column_from.const_data_ptr<int64_t>();
  return v;
}

// False: the operations of LibTorch must do it.
bool on_gpu(int what, const SparseBatch& c, const at::Tensor& x, const at::Tensor& y, int64_t width, at::Tensor& out) {
  static const auto start = reinterpret_cast<kernels::SparseCodesCuda>(kernel_function(kernels::kSparseCodesCudaSymbol));
  if (!start || !on_default_stream(out)) return false;
  const float* px = x.defined() ? x.const_data_ptr<float>() : nullptr;
  return did(start(what, view(c), px, y.const_data_ptr<float>(), width, out.mutable_data_ptr<float>(), out.device().index(), nullptr), "a product of sparse codes");
}

constexpr int64_t kGrain = 16;

}  // namespace

SparseBatch sparse_batch(const at::Tensor& flat, const at::Tensor& value, int64_t rows, int64_t columns) {
  SparseBatch c;
  c.rows = rows;
  c.columns = columns;
  auto [sorted, place] = flat.sort(0);
  c.value = value.index_select(0, place).contiguous();
  c.row = sorted.floor_divide(columns);
  c.column = sorted - c.row * columns;
  at::Tensor by_column = c.column * rows + c.row;      // unique, so any sort gives one order
  auto [by, order] = by_column.sort(0);
  c.order = order.contiguous();
  at::Tensor row_starts = at::arange(rows + 1, flat.options()) * columns, column_starts = at::arange(columns + 1, flat.options()) * rows;
  c.row_from = at::searchsorted(sorted, row_starts).contiguous();
  c.column_from = at::searchsorted(by, column_starts).contiguous();
  return c;
}

at::Tensor sparse_decode(const SparseBatch& c, const at::Tensor& w) {
  const at::Tensor dense = w.contiguous();
  const int64_t width = dense.size(1);
  at::Tensor out = at::zeros({c.rows, width}, dense.options());
  if (dense.is_cpu()) {
    at::parallel_for(0, c.rows, kGrain, [&](int64_t from, int64_t to) {
      kernels::sparse_decode_cpu(view(c), dense.const_data_ptr<float>(), width, out.mutable_data_ptr<float>(), from, to);
    });
  } else if (!on_gpu(0, c, {}, dense, width, out)) {
    out = std::get<0>(at::embedding_bag(dense, c.column, c.row_from, false, 0, false, c.value, true));
  }
  return out;
}

at::Tensor sparse_dot(const SparseBatch& c, const at::Tensor& a, const at::Tensor& w) {
  const at::Tensor left = a.contiguous(), right = w.contiguous();
  const int64_t width = right.size(1);
  at::Tensor out = at::empty({c.row.size(0)}, right.options());
  if (left.is_cpu()) {
    at::parallel_for(0, c.rows, kGrain, [&](int64_t from, int64_t to) {
      kernels::sparse_dot_cpu(view(c), left.const_data_ptr<float>(), right.const_data_ptr<float>(), width, out.mutable_data_ptr<float>(), from, to);
    });
  } else if (!on_gpu(1, c, left, right, width, out)) {
    constexpr int64_t kPiece = int64_t{1} << 16;       // entries whose rows are held at a time
    for (int64_t e = 0; e < out.size(0); e += kPiece) {
      const int64_t end = std::min(out.size(0), e + kPiece);
      out.slice(0, e, end).copy_((left.index_select(0, c.row.slice(0, e, end)) * right.index_select(0, c.column.slice(0, e, end))).sum(1));
    }
  }
  return out;
}

void sparse_scatter(const SparseBatch& c, const at::Tensor& scale, const at::Tensor& a, at::Tensor& out) {
  const at::Tensor left = a.contiguous(), by = scale.contiguous();
  const int64_t width = left.size(1);
  if (left.is_cpu()) {
    at::parallel_for(0, c.columns, kGrain, [&](int64_t from, int64_t to) {
      kernels::sparse_scatter_cpu(view(c), by.const_data_ptr<float>(), left.const_data_ptr<float>(), width, out.mutable_data_ptr<float>(), from, to);
    });
  } else if (!on_gpu(2, c, left, by, width, out)) {
    constexpr int64_t kPiece = int64_t{1} << 16;
    for (int64_t e = 0; e < by.size(0); e += kPiece) {
      const int64_t end = std::min(by.size(0), e + kPiece);
      out.index_add_(0, c.column.slice(0, e, end), left.index_select(0, c.row.slice(0, e, end)) * by.slice(0, e, end).unsqueeze(1));
    }
  }
}

at::Tensor sparse_column_sums(const SparseBatch& c, const at::Tensor& scale) {
  at::Tensor sums = at::cat({at::zeros({1}, scale.options().dtype(at::kDouble)), scale.index_select(0, c.order).to(at::kDouble).cumsum(0)});
  return (sums.index_select(0, c.column_from.slice(0, 1)) - sums.index_select(0, c.column_from.slice(0, 0, c.columns))).to(scale.scalar_type());
}

}  // namespace microtome
