// safetensors.h — reader and writer of the safetensors container. Format: 8-byte little-endian header length, a JSON
// header {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__"?: {string: string}}, then the data.
// Every length is checked before use: no overflow, no hole, no overlap, no trailing byte, no allocation that the file's
// own size does not pay for.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/status.h"
#include "core/io/mapped_file.h"

namespace microtome {

enum class DType { kF64, kF32, kF16, kBF16, kF8E4M3, kF8E5M2, kI64, kI32, kI16, kI8, kU8, kBool, kU16, kU32, kU64 };
const char* dtype_name(DType d);     // as safetensors spells it: "F32", "BF16" …
size_t dtype_size(DType d);          // bytes an element

struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;     // inside the mapping; aligned only to the file's own offsets
  size_t bytes = 0;
  int64_t count() const;             // elements
};

// Immutable; thread-safe. The mapping lives as long as a copy of this object (or keep_alive()) does.
class SafetensorsFile {
 public:
  // Errors: kBadInput naming the file and the tensor or field; a git-LFS pointer and an HTML page are named as such.
  static Result<SafetensorsFile> open(const std::string& path);
  // The same over bytes in memory (tests, fuzzing, blobs of the store); the bytes must outlive the object.
  static Result<SafetensorsFile> parse(std::span<const uint8_t> bytes, const std::string& where);

  const std::vector<TensorEntry>& tensors() const { return tensors_; }   // in order of offset
  const TensorEntry* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::shared_ptr<const void> keep_alive() const { return keep_; }
  const std::string& path() const { return path_; }

 private:
  std::vector<TensorEntry> tensors_;
  std::map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
  std::shared_ptr<const void> keep_;
  std::string path_;
};

// One tensor to write; data holds bytes, row-major, little-endian.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const uint8_t> data;
};

// Writes to a temporary neighbour, syncs, renames. A full disk leaves the old file as it was.
Status write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                         const std::map<std::string, std::string>& metadata = {});
std::vector<uint8_t> safetensors_bytes(const std::vector<TensorToWrite>& tensors,
                                       const std::map<std::string, std::string>& metadata = {});

// NamedArrays to and from safetensors: axes, unit and help travel in __metadata__ as one JSON text under "arrays".
std::vector<uint8_t> arrays_to_bytes(const std::vector<NamedArray>& arrays);
Result<std::vector<NamedArray>> arrays_from_bytes(std::span<const uint8_t> bytes, const std::string& where);
Status write_arrays(const std::string& path, const std::vector<NamedArray>& arrays);
// Any numeric safetensors file as arrays (F16/BF16/F32 → float, F64 → double, integers → int64).
Result<std::vector<NamedArray>> read_arrays(const std::string& path);

}  // namespace microtome
