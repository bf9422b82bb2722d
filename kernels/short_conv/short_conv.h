// short_conv.h — the short causal convolution by channel that linear mixers put before their recurrence, in one pass:
//
//   y[t, c] = bias[c] + Σ_i weight[c, i] x[t - width + 1 + i, c];   then x sigmoid(x) where silu
//
// x before the first token is the window that an earlier run left, or zeros. Not differentiated.
#pragma once

#include <cstdint>

namespace microtome::kernels {

// Dense float32 on the device.
struct ShortConv {
  int64_t batch = 0, positions = 0, channels = 0, width = 0;
  bool silu = false;
  const float* x = nullptr;            // [batch, pos, channel]
  const float* weight = nullptr;       // [channel, width]
  const float* bias = nullptr;         // [channel]; null: none
  const float* before = nullptr;       // [batch, width - 1, channel]; null: zeros
  float* y = nullptr;                  // [batch, pos, channel]
  float* after = nullptr;              // the window that this run leaves, as `before` and not the same; null: not wanted
};

constexpr int64_t kShortConvMostWidth = 16;
// Starts on a CUDA device's stream (null: the default one) and returns; null or a sentence.
using ShortConvCuda = const char* (*)(const ShortConv& conv, int device, void* stream);
constexpr char kShortConvCudaSymbol[] = "microtome_short_conv_cuda";

}  // namespace microtome::kernels
