// mapped_file.h — a read-only mapping of a regular file. Copies share it; it is unmapped with the last copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/status.h"

namespace microtome {

// Thread-safe. Refuses anything but a regular file (devices, FIFOs, folders). An empty file has size 0.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  const uint8_t* data() const;
  size_t size() const;
  const std::string& path() const;
  // Keeps the mapping alive for as long as a tensor made over it lives.
  std::shared_ptr<const void> keep_alive() const { return impl_; }

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace microtome
