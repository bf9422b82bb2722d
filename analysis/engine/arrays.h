// arrays.h — LibTorch tensors to artifacts, and means over prompts with bootstrap intervals.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::engine {

// Copies to the host: float32 unless the tensor is float64 or integer.
NamedArray to_array(std::string name, std::vector<std::string> axes, const at::Tensor& t, std::string unit = {},
                    std::string help = {});
at::Tensor to_tensor(const NamedArray& a);                // on the CPU, over a copy
const NamedArray& find_array(const std::vector<NamedArray>& arrays, const std::string& name);   // throws kInternal
// NaN-aware mean over one axis; all-NaN gives NaN.
at::Tensor nan_mean(const at::Tensor& t, int64_t axis);

// The value below which a share q of ascending numbers lies, linear between neighbours; at least one number.
double quantile(const std::vector<double>& sorted, double q);
// A summary line: mean of per-prompt values with a 95 % percentile bootstrap interval (1000 resamples, seeded).
SummaryItem summarise(std::string name, const std::vector<double>& per_prompt, std::string unit, std::string help,
                      uint64_t seed);
SummaryItem plain_number(std::string name, double value, std::string unit, std::string help);

}  // namespace microtome::engine
