// masked_softmax.h — attention scores and pattern from the products q k^T, in one pass that writes both:
//
//   x[i,j] = scale q_i · k_j;  softcap: c tanh(x / c);  mask: -inf;   p[i,j] = exp(x[i,j]) / Σ_j exp(x[i,j])
//
// A query that sees no key has NaN for p, as a softmax over -inf alone has. Not differentiated.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// Dense float32 on the device, [rows / count, count, keys]. Row i's own key is past + i mod count.
struct MaskedSoftmax {
  int64_t rows = 0, count = 0, keys = 0, past = 0;
  double scale = 1, softcap = 0;       // 0: none
  bool causal = true;
  int64_t window = 0;                  // keys seen, the own one included (and as many behind it where not causal); 0: all
  float* x = nullptr;                  // in: products; out: scores
  float* p = nullptr;
};

// Starts on a CUDA device's stream (null: the default one) and returns; null or the runtime's sentence.
using MaskedSoftmaxCuda = const char* (*)(const MaskedSoftmax& work, int device, void* stream);
constexpr char kMaskedSoftmaxCudaSymbol[] = "microtome_masked_softmax_cuda";

}  // namespace microtome::kernels
