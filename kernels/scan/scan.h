// scan.h — a linear recurrence with a matrix state, token by token in one pass, the state never leaving the registers (GPU)
// or the cache (CPU):
//
//   S' = exp(g_t) ∘ S_{t-1};   S_t = S' + k_t w_t^T;   z_t = scale S_t^T q_t;   w_t = v_t, or beta_t (v_t - S'^T k_t)
//
// or one of its kin: with a the write subtracts what the state before the decay answers to a, w_t = beta_t (v_t - S_{t-1}^T a_t)
// (Comba); with a and b that answer is written back at b, S_t = S' + b_t (S_{t-1}^T a_t)^T + k_t v_t^T (RWKV-7); with u the read
// comes before the write, z_t = scale (S_{t-1} + diag(u) k_t v_t^T)^T q_t (RWKV-6).
//
// What is looked at is written down while it is computed: the state after any tokens, and w_t. Notation and sources:
// core/mixers/recurrence.h. Not differentiated.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// All arrays are dense, row-major, of one type; null where not given. Heads are those of the state; query head h reads
// state head h / group.
struct Scan {
  int64_t batch = 0, positions = 0, heads = 0, group = 1, d_k = 0, d_v = 0;
  const void* q = nullptr;             // [batch, pos, heads * group, d_k]
  const void* k = nullptr;             // [batch, pos, heads, d_k]
  const void* v = nullptr;             // [batch, pos, heads, d_v]
  const void* g = nullptr;             // log decay [batch, pos, heads, g_width]
  int64_t g_width = 0;                 // 0: no decay; 1; d_k
  const void* beta = nullptr;          // [batch, pos, heads]: the delta rule's; null: w = v
  const void *a = nullptr, *b = nullptr;   // [batch, pos, heads, d_k]; a with either beta or b
  const void* u = nullptr;             // [heads, d_k]; without beta, a and b, and with group 1
  double scale = 1;
  void* state = nullptr;               // [batch, heads, d_k, d_v], read and replaced
  void* z = nullptr;                   // [batch, pos, heads * group, d_v]
  void* written = nullptr;             // w [batch, pos, heads, d_v]; with b it is v
  void* kept = nullptr;                // [batch, kept, heads, d_k, d_v]
  int64_t kept_count = 0;
  const int64_t* slots = nullptr;      // [pos]: which of `kept` the state after a token is; -1: none. Where the arrays are
};

// On the CPU, for the (batch, head) pairs from ≤ b * heads + h < to; any number of threads may do parts of one scan.
void scan_cpu(const Scan& scan, bool is_double, int64_t from, int64_t to);

constexpr int64_t kScanMostKeys = 256;   // d_k of the GPU's form, which is float32
// Starts the scan on a CUDA device's stream (null: the default one) and returns; null or the runtime's sentence.
// d_k ≤ kScanMostKeys; a with beta only where g_width is 1, b and u only where it is d_k (> 1). In libmicrotome_kernels.so, which is opened where a GPU is used.
using ScanCuda = const char* (*)(const Scan& scan, int device, void* stream);
constexpr char kScanCudaSymbol[] = "microtome_scan_cuda";

}  // namespace microtome::kernels
