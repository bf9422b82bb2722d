#include "core/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "core/base/atomic_file.h"

namespace microtome {

struct MappedFile::Impl {
  std::string path;
  void* address = nullptr;
  size_t size = 0;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (address) ::munmap(address, size);
  }
};

Result<MappedFile> MappedFile::open(const std::string& path) {
  auto special = [&] {
    return Status(StatusCode::kBadInput, "'" + path + "' is not a regular file", "",
                  "name a file, not a folder or a device");
  };
  // Asked before opening: opening some devices acts on them. O_NONBLOCK: a pipe put there in between must not block.
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return file_error("read", path, errno);
  if (!S_ISREG(info.st_mode)) return special();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return file_error("read", path, errno);
  auto impl = std::make_shared<Impl>();
  impl->path = path;
  int error = ::fstat(fd, &info) == 0 ? 0 : errno;
  const bool regular = error == 0 && S_ISREG(info.st_mode);
  if (regular && info.st_size > 0) {
    const auto size = static_cast<uint64_t>(info.st_size);
    if (size > static_cast<uint64_t>(std::numeric_limits<ptrdiff_t>::max())) {
      error = EFBIG;
    } else {
      void* p = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, fd, 0);
      if (p == MAP_FAILED) {
        error = errno;
      } else {
        impl->address = p;
        impl->size = static_cast<size_t>(size);
      }
    }
  }
  ::close(fd);
  if (error != 0) return file_error("read", path, error);
  if (!regular) return special();
  MappedFile file;
  file.impl_ = std::move(impl);
  return file;
}

const uint8_t* MappedFile::data() const { return impl_ ? static_cast<const uint8_t*>(impl_->address) : nullptr; }
size_t MappedFile::size() const { return impl_ ? impl_->size : 0; }
const std::string& MappedFile::path() const {
  static const std::string none;
  return impl_ ? impl_->path : none;
}

}  // namespace microtome
