// row_store.h — rows of the adjacency, appended in blocks and read back one by one, in a temporary file: memory holds one row,
// however long the prompt is. A row holds the numbers of NodeIndex::runs(target), one after the other. Free of LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analysis/feature_circuit/nodes.h"

namespace microtome::feature_circuit {

class RowStore {
 public:
  // in_memory: for small graphs and tests; the same numbers. The file lies in the folder for temporary files and has no name.
  explicit RowStore(const NodeIndex& nodes, bool in_memory = false);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  // values: row_length(target) numbers. A target has one row. Throws Error(kFailed) when the disk is full.
  void append(int64_t target, const float* values, int64_t count);
  int64_t rows() const { return static_cast<int64_t>(targets_.size()); }
  int64_t target(int64_t row) const { return targets_[static_cast<size_t>(row)]; }
  bool has(int64_t target) const { return row_of_[static_cast<size_t>(target)] >= 0; }
  int64_t row_of(int64_t target) const { return row_of_[static_cast<size_t>(target)]; }
  // The row's numbers, valid until the next read.
  const std::vector<float>& read(int64_t row) const;
  int64_t bytes() const { return bytes_; }
  const NodeIndex& nodes() const { return nodes_; }

  // Calls f(source node, weight) for every number of a row.
  template <class F>
  void each(int64_t row, F f) const {
    const std::vector<float>& values = read(row);
    size_t i = 0;
    for (const auto& [first, count] : nodes_.runs(target(row)))
      for (int64_t k = 0; k < count; ++k) f(first + k, values[i++]);
  }
  // Rows with the targets of the highest layers first: every row comes before the rows of its sources.
  std::vector<int64_t> downward() const;

 private:
  const NodeIndex& nodes_;
  std::vector<int64_t> targets_, offsets_, lengths_, row_of_;
  std::vector<std::vector<float>> kept_;     // in_memory
  mutable std::vector<float> buffer_;
  int file_ = -1;
  int64_t bytes_ = 0;
};

}  // namespace microtome::feature_circuit
