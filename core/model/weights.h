// weights.h — a checkpoint's tensors under canonical names, on one device in one type. Float32 weights computed in
// float32 on the CPU stay in the mapping: no copy of the file in memory. Where the others do not fit, blocks take theirs
// from the file as they run.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/io/checkpoint.h"
#include "core/mixers/token_mixer.h"
#include "core/families/family.h"
#include "core/model/model_config.h"
#include "core/model/quantization.h"

namespace microtome {

// Where a model's blocks have their weights between runs.
//   kResident  on the device, in the type that is computed in (float32 on the CPU: in the mapped file itself)
//   kStored    on the device in the type the file has, made into the other as each block runs
//   kStream    in the mapped file, moved and made into the other type as each block runs
//   kAuto      the first of these for which there is memory
// Embeddings, unembedding and the norms outside blocks are resident always.
enum class WeightKeep { kAuto, kResident, kStored, kStream };
WeightKeep parse_weight_keep(const std::string& text);     // "auto", "resident", "stored", "stream"
const char* weight_keep_text(WeightKeep keep);

// One canonical weight as the file has it. Bindings with their mapped sources; several where rows are put together.
struct StoredWeight {
  struct Part {
    at::Tensor raw, scale;                             // scale: of 8-bit floats, else undefined
    TensorBinding binding;
  };
  std::vector<Part> parts;
  Quantization quantization;
};

// Thread-safe.
struct ModelWeights {
  std::map<std::string, at::Tensor> tensors;           // canonical name → tensor, those that are resident
  std::map<std::string, StoredWeight> stored;          // the others
  c10::Device device = c10::Device(c10::kCPU);
  at::ScalarType dtype = at::kFloat;
  WeightKeep keep = WeightKeep::kResident;             // never kAuto
  std::vector<std::string> warnings;                   // unused tensors, NaN or infinite weights, how weights are kept

  // What is not resident is made anew at each call. get throws Error(kInternal) when absent, find gives an undefined one.
  at::Tensor get(const std::string& name) const;
  at::Tensor find(const std::string& name) const;
  WeightMap below(const std::string& prefix) const;                  // names relative to the prefix
  bool has(const std::string& name) const { return tensors.count(name) || stored.count(name); }
  std::vector<std::string> names() const;                            // all, sorted
};

// Checks every expected tensor's presence, type and shape against the file's header; reads no weight bytes. Missing:
// Error naming the tensor; mis-shaped: both shapes; integers: the type. Returns warnings for tensors nobody uses.
std::vector<std::string> check_weights(const Checkpoint& checkpoint, const Family& family, const ModelConfig& config);
// check_weights, then loads. check_values: look for NaN and infinities and warn, naming the tensor; of weights that are
// not resident this is left out, since it would read the whole file.
std::shared_ptr<const ModelWeights> load_weights(const Checkpoint& checkpoint, const Family& family,
                                                 const ModelConfig& config, c10::Device device, at::ScalarType dtype,
                                                 bool check_values = true, WeightKeep keep = WeightKeep::kAuto);
// Bytes that resident weights take beside the mapped file.
int64_t resident_bytes(const Checkpoint& checkpoint, const Family& family, const ModelConfig& config, c10::Device device,
                       at::ScalarType dtype);
// What kAuto comes to with so many bytes free: resident where 9 tenths of them are enough, stored where that holds for the
// file's own types on a GPU, else stream.
WeightKeep choose_keep(int64_t resident, int64_t stored, int64_t free_bytes, c10::Device device);
// Weights drawn from N(0, 0.02) (norm gains 1), for benchmarks and tests; names and shapes as a checkpoint would give.
std::shared_ptr<const ModelWeights> random_weights(const Family& family, const ModelConfig& config, c10::Device device,
                                                   at::ScalarType dtype, uint64_t seed);

// One stored tensor as a LibTorch tensor over the mapping (or a copy where it is not aligned).
at::Tensor tensor_of_entry(const TensorEntry& entry, const std::shared_ptr<const void>& keep_alive);

}  // namespace microtome
