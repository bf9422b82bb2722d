// adam.h — Adam (arXiv 1412.6980) on a GPU with what surrounds it in a training step, each number read and written once: the gradient's
// norm and clipping, rows kept at norm 1, rows' norms, and the bfloat16 copy that the next step's products read. Sums have a fixed order.
#pragma once

#include <cstdint>

namespace microtome::kernels {

struct AdamSettings {
  double rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  int64_t step = 1;                    // this one's number, from 1: for the bias corrections
};

// Norm of gradients that are parts of one: sqrt(Σ numbers², or Σ numbers where these are squares already).
struct GradientNorm {
  static constexpr int kMost = 16;
  static constexpr int64_t kParts = 264;
  int arrays = 0;
  const float* numbers[kMost] = {};
  int64_t sizes[kMost] = {};
  bool squares[kMost] = {};
  double clip = 0;                     // largest norm; 0: none
  double* parts = nullptr;             // workspace [kParts]
  float* out = nullptr;                // [2]: the norm; what gradients are to be multiplied by, min(1, clip / (norm + 1e-6))
};

// Matrices whose rows belong together (a feature's). g = gradient · out[1]; m = β₁ m + (1 - β₁) g; v = β₂ v + (1 - β₂) g²;
// w -= rate / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps); then w /= ‖row‖ where `unit`.
struct AdamRows {
  static constexpr int kMost = 4;
  struct Matrix {
    float* value = nullptr;            // [rows, width], width a multiple of 4, all 16-byte aligned
    float* first = nullptr;            // m and v
    float* second = nullptr;
    const float* gradient = nullptr;
    int64_t width = 0;
    bool unit = false;                 // each row is divided by its norm
    void* copy = nullptr;              // out: bfloat16; null: not wanted
    float* norms = nullptr;            // out [rows]; null: not wanted
  };
  int matrices = 0;
  Matrix matrix[kMost];
  int64_t rows = 0;
  const uint8_t* touched = nullptr;    // [rows]: 0 where the row's gradient is 0 and is not there to read; null: all are
  bool update = true;                  // false: `copy` and `norms` alone, of the values as they are
  const float* scale = nullptr;        // device: of the gradients; null: 1
  AdamSettings settings;
};

// Arrays of any size.
struct AdamArrays {
  static constexpr int kMost = 16;
  struct Array { float *value, *first, *second; const float* gradient; int64_t size; };
  int arrays = 0;
  Array array[kMost] = {};
  const float* scale = nullptr;
  AdamSettings settings;
};

// Started on a CUDA device's stream; null, "not covered" or the runtime's sentence.
using GradientNormCuda = const char* (*)(const GradientNorm& n, int device, void* stream);
using AdamRowsCuda = const char* (*)(const AdamRows& a, int device, void* stream);
using AdamArraysCuda = const char* (*)(const AdamArrays& a, int device, void* stream);
constexpr char kGradientNormCudaSymbol[] = "microtome_gradient_norm_cuda";
constexpr char kAdamRowsCudaSymbol[] = "microtome_adam_rows_cuda";
constexpr char kAdamArraysCudaSymbol[] = "microtome_adam_arrays_cuda";

}  // namespace microtome::kernels
