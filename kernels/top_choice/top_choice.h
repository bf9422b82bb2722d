// top_choice.h — which features of a dictionary are active: the k strongest pre-activations of every row, or of a whole batch on average,
// without sorting. Only entries above 0 (or NaN, which counts as the largest) are chosen: what a ReLU closes is of no use. Of equal ones the
// lower column wins, so the same numbers give the same choice.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// What is compared is (pre + bias) · scale in float32, in this order.
struct TopRows {
  int64_t rows = 0, columns = 0, k = 0;
  const void* pre = nullptr;           // [rows, columns], dense, 16-byte aligned; columns a multiple of 8
  bool bfloat16 = false;               // else float32
  const float* bias = nullptr;         // [columns]; null: none
  const float* scale = nullptr;        // [columns]; null: 1
  int32_t* column = nullptr;           // out [rows, k]: -1 where fewer than k are above 0
  float* value = nullptr;              // out [rows, k]: 0 there
};

// The rows · k strongest of all rows together; of equal ones the lower row, then the lower column. Entries lie by row.
struct TopBatch {
  TopRows rows;                        // its column and value are [rows * k]; what is not filled is -1 and 0, at the end
  int32_t* row_from = nullptr;         // out [rows + 1]
  int32_t* row = nullptr;              // out [rows * k]: of every entry that is filled
  // Workspace.
  int32_t* counts = nullptr;           // [kTopBatchCounts]
  float* largest = nullptr;            // [rows, kTopBatchParts]
  int64_t* candidates = nullptr;       // [rows, kTopBatchRoom]
  int32_t* of_rows = nullptr;          // [3, rows]
};
constexpr int64_t kTopBatchCounts = 4 * 4096 + 8, kTopBatchParts = 512, kTopBatchRoom = 512;

// Start the choice on a CUDA device's stream; null, "not covered" or the runtime's sentence.
using TopRowsCuda = const char* (*)(const TopRows& t, int device, void* stream);
using TopBatchCuda = const char* (*)(const TopBatch& t, int device, void* stream);
constexpr char kTopRowsCudaSymbol[] = "microtome_top_rows_cuda";
constexpr char kTopBatchCudaSymbol[] = "microtome_top_batch_cuda";

}  // namespace microtome::kernels
