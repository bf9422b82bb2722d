// weights.h — a checkpoint's tensors under canonical names, on one device in one type. Float32 weights computed in
// float32 on the CPU stay in the mapping: no copy of the file in memory.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/io/checkpoint.h"
#include "core/mixers/token_mixer.h"
#include "core/model/model_config.h"

namespace microtome {

struct ModelWeights {
  std::map<std::string, at::Tensor> tensors;           // canonical name → tensor
  c10::Device device = c10::Device(c10::kCPU);
  at::ScalarType dtype = at::kFloat;
  std::vector<std::string> warnings;                   // unused tensors, NaN or infinite weights

  const at::Tensor& get(const std::string& name) const;              // throws Error(kInternal) when absent
  at::Tensor find(const std::string& name) const;                    // undefined when absent
  WeightMap below(const std::string& prefix) const;                  // names relative to the prefix
};

struct Family;
// Checks every expected tensor's presence, type and shape against the file's header; reads no weight bytes. Missing:
// Error naming the tensor; mis-shaped: both shapes; integers: the type. Returns warnings for tensors nobody uses.
std::vector<std::string> check_weights(const Checkpoint& checkpoint, const Family& family, const ModelConfig& config);
// check_weights, then loads. check_values: look for NaN and infinities and warn, naming the tensor.
std::shared_ptr<const ModelWeights> load_weights(const Checkpoint& checkpoint, const Family& family,
                                                 const ModelConfig& config, c10::Device device, at::ScalarType dtype,
                                                 bool check_values = true);
// Weights drawn from N(0, 0.02) (norm gains 1), for benchmarks and tests; names and shapes as a checkpoint would give.
std::shared_ptr<const ModelWeights> random_weights(const Family& family, const ModelConfig& config, c10::Device device,
                                                   at::ScalarType dtype, uint64_t seed);

// One stored tensor as a LibTorch tensor over the mapping (or a copy where it is not aligned).
at::Tensor tensor_of_entry(const TensorEntry& entry, const std::shared_ptr<const void>& keep_alive);

}  // namespace microtome
