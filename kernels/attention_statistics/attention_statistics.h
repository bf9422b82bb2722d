// attention_statistics.h — what is asked of a softmax pattern without the pattern, and the pattern itself in one launch.
//
//   x[i,j] = scale q_i · k_j;  softcap: c tanh(x / c);  ALiBi: + slope_h (j - own_i);  mask: -inf
//   p[i,j] = exp(x[i,j]) / (Σ_j exp(x[i,j]) + exp(sink_h))
//
// own_i is the index of query i's own key. Query head h reads key head h / (heads / kv_heads). Not differentiated.
#pragma once

#include <cstdint>

namespace microtome::kernels {

enum class AttentionType : int { kFloat32, kFloat16, kBFloat16 };

// What defines p. Pointers are the device's.
struct AttentionScores {
  const void* q = nullptr;             // [batch, count, heads, d]
  const void* k = nullptr;             // [batch, keys, kv_heads, d]
  int64_t batch = 0, count = 0, keys = 0, heads = 0, kv_heads = 0, d = 0;
  int64_t q_stride[3] = {}, k_stride[3] = {};   // in elements, of batch, pos and head; the last axis is dense
  AttentionType type = AttentionType::kFloat32;
  bool tf32 = false;                   // float32: products may be TF32; else three TF32 products, nearly as exact as float32
  double scale = 1, softcap = 0;       // 0: none
  int64_t window = 0;                  // keys seen, the own one included (and as many behind it where not causal); 0: all
  bool causal = true;
  const double* slopes = nullptr;      // ALiBi [heads]
  const double* sinks = nullptr;       // [heads]
  int64_t past = 0;                    // own_i = past + i
  const int64_t* own = nullptr;        // or own_i = own[i], ascending [count]
};

// Of every row: log Σ exp (sink included); largest p; its first key; -Σ p ln p; p at key `first`; Σ p (own - key); Σ p.
constexpr int kAttentionNumbers = 7;

struct AttentionStatistics {
  AttentionScores scores;
  int64_t first = 0;                   // the key whose p is noted; outside 0 … keys: 0 is
  float* out = nullptr;                // [batch, heads, count, kAttentionNumbers]
  // p at chosen keys of each query: targets [batch, count, targets_count], out_targets [batch, heads, count, targets_count].
  // A target that is no key, or that the query does not see, gives 0.
  const int64_t* targets = nullptr;
  int64_t targets_count = 0;
  float* out_targets = nullptr;
};

// p itself, every cell written: [batch, heads, count, keys], dense, in out_type.
struct AttentionPattern {
  AttentionScores scores;
  void* out = nullptr;
  AttentionType out_type = AttentionType::kFloat32;
};

constexpr int64_t kAttentionMostWidth = 256;   // d
// Start on a CUDA device's stream (null: the default one) and return; null or a sentence. d ≤ kAttentionMostWidth,
// batch · heads ≤ 65,535. A sentence that begins with kAttentionRefusal: nothing was started, the device has no room for such
// blocks or the shape is not covered; any other is a fault of the device. In libmicrotome_kernels.so.
constexpr char kAttentionRefusal[] = "not covered: ";
using AttentionStatisticsCuda = const char* (*)(const AttentionStatistics& work, int device, void* stream);
using AttentionPatternCuda = const char* (*)(const AttentionPattern& work, int device, void* stream);
constexpr char kAttentionStatisticsCudaSymbol[] = "microtome_attention_statistics_cuda";
constexpr char kAttentionPatternCudaSymbol[] = "microtome_attention_pattern_cuda";

}  // namespace microtome::kernels
