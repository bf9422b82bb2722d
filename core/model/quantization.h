// quantization.h — weights stored as 8-bit floats with scales beside them, as config.json's quantization_config says:
// {"quant_method": "fp8", "weight_block_size": [rows, columns]}. Weight W of type F8_E4M3 or F8_E5M2 stands for
//   W[i][j] * S[i / rows][j / columns]   with S = "W_scale_inv" (DeepSeek-V3, arXiv 2412.19437, 3.3), or
//   W[i][j] * s   or   W[i][j] * s[i]    with s = "W_scale", of 1 element or [rows of W, 1].
// Only the weights are so: activations stay in the type that is computed in, where deployed kernels round them too.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/io/checkpoint.h"

namespace microtome {

struct Quantization {
  bool fp8 = false;
  std::vector<int64_t> block;          // [rows, columns], both positive; empty when the file does not say
};

// From the whole config. Throws Error(kUnsupported) naming quant_method, its value and what is allowed; Error(kBadInput)
// for a field of another type.
Quantization read_quantization(const Json& config, const std::string& where);

bool is_fp8(DType d);
// The scales of a stored weight; null for one that has none (any other type, or 8-bit floats that stand for themselves
// in a file without quantization_config). Throws Error(kBadInput) when they are missing or do not fit, naming the shapes.
const TensorEntry* scale_of(const Checkpoint& checkpoint, const TensorEntry& weight, const Quantization& quantization);

// weight times its scales: weight of any type and size, scale as scale_of() has checked it. The result is float32, or
// float64 when `wide`, on the weight's device.
at::Tensor scaled_weight(const at::Tensor& weight, const at::Tensor& scale, const Quantization& quantization, bool wide);

}  // namespace microtome
