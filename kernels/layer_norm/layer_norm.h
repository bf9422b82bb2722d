// layer_norm.h — a norm with everything that can be asked of it, in one pass:
//
//   s = sqrt(mean((x - m)^2) + eps);   n = (x - m) / s;   y = n gain + bias;   m = mean(x), or 0 where it does not centre (RMS)
//
// Not differentiated.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// Dense float32 rows on the device. gain, bias [width], null: 1 and 0. Outputs [rows, width], scale [rows]; each may be null.
struct LayerNorm {
  int64_t rows = 0, width = 0;
  double eps = 0;
  bool centred = true;
  const float *x = nullptr, *gain = nullptr, *bias = nullptr;
  float *scale = nullptr, *normalized = nullptr, *y = nullptr;
};

// Starts on a CUDA device's stream (null: the default one) and returns; null or the runtime's sentence.
using LayerNormCuda = const char* (*)(const LayerNorm& norm, int device, void* stream);
constexpr char kLayerNormCudaSymbol[] = "microtome_layer_norm_cuda";

}  // namespace microtome::kernels
