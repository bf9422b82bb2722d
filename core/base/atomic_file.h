// atomic_file.h — an output file that is whole or absent: written under a temporary name beside the target, synced, and
// renamed. Destroyed without commit(), it leaves the target as it was and removes the temporary.
#pragma once

#include <cstddef>
#include <string>

#include "core/base/status.h"

namespace microtome {

// Not thread-safe; one object a file. A target that exists and is a device or a pipe (/dev/stdout) is written directly,
// never replaced. A target that is a symbolic link is written through. An existing file's permissions are kept.
class AtomicFile {
 public:
  // Errors: kNotFound (no such folder), kBadInput (a folder, or no permission), kFailed (the disk).
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // After an error the object accepts nothing more. kFailed: the disk is full, over quota, or failed.
  Status write(const void* data, size_t size);
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd);
  Status fail(const char* doing, int error);
  void abandon();
  std::string path_, temporary_;     // temporary_ is empty when the target is written directly
  int fd_ = -1;
};

// The Status for a failed system call on `path`, with the remedy where there is one.
Status file_error(const std::string& doing, const std::string& path, int error);

}  // namespace microtome
