// tensor_files.h — "<project>-tensors/": arrays in files named by the SHA-256 of their bytes; private to core/store.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/artifact.h"

namespace microtome {

// Encoded arrays of at least this many bytes become files.
inline constexpr size_t kTensorFileBytes = size_t{64} << 10;

// 64 lower-case hex digits and nothing else: the only names ever looked up.
bool is_tensor_hash(const std::string& text);

// Not thread-safe; the store serialises.
class TensorFiles {
 public:
  explicit TensorFiles(std::string folder) : folder_(std::move(folder)) {}

  // Writes the bytes unless a whole file of them is there, and returns their hash. Durable when it returns. Throws
  // Error(kFailed) for a full disk.
  std::string put(std::span<const uint8_t> bytes);
  // Reads and verifies. `owner` ("run 3, item 7") is named in the error for a name that is no hash, a missing file and
  // one whose bytes are not those that were written.
  std::vector<NamedArray> get(const std::string& hash, const std::string& owner) const;

  struct Entry {
    std::string file_name, hash;       // hash is empty for what an interrupted write left
    int64_t bytes = 0;
  };
  // Our files only; what else lies in the folder is not listed.
  std::vector<Entry> list() const;
  void remove(const Entry& entry);

 private:
  std::string path_of(const std::string& hash) const { return folder_ + "/" + hash + ".safetensors"; }
  std::string folder_;
};

}  // namespace microtome
