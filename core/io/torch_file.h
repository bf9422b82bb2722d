// torch_file.h — the tensors of a file that torch.save wrote (pytorch_model.bin): the zip archive of torch 1.6 and later,
// and the plain stream of pickles and storages before it. Nothing in the file is executed: see pickle.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/io/safetensors.h"

namespace microtome {

struct TorchTensors {
  // In the file's order. Data point into the bytes that were parsed, aligned only to the file's own offsets; tensors
  // that are no row-major stretch of their storage (transposed ones) point into `copies`. Several may share one storage.
  std::vector<TensorEntry> tensors;
  std::shared_ptr<const void> copies;
};

// The bytes must outlive the result. The file must hold a dictionary; what in it is no tensor (a step count) is left
// out. Errors: kBadInput for a damaged file, with the tensor or the byte; kUnsupported for a pickle that names anything
// but tensors, for big-endian files, and for tensors that are larger than their storage (expanded ones).
Result<TorchTensors> parse_torch_file(std::span<const uint8_t> bytes, const std::string& where);

}  // namespace microtome
