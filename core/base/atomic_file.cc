#include "core/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <utility>

namespace microtome {

Status file_error(const std::string& doing, const std::string& path, int error) {
  StatusCode code = StatusCode::kFailed;
  std::string todo;
  switch (error) {
    case ENOENT: code = StatusCode::kNotFound; todo = "check the path"; break;
    case EACCES:
    case EPERM:
    case EROFS: code = StatusCode::kBadInput; todo = "check the permissions, or choose another place"; break;
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP: code = StatusCode::kBadInput; todo = "check the path"; break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: todo = "free some space, or choose another place"; break;
    default: break;
  }
  return {code, "cannot " + doing + " '" + path + "': " + std::generic_category().message(error), "", todo};
}

AtomicFile::AtomicFile(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), fd_(std::exchange(other.fd_, -1)) {
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() { abandon(); }

void AtomicFile::abandon() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  std::string target = path;
  mode_t mode = 0666;
  struct stat info {};
  bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return file_error("write", path, EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return file_error("write", path, errno);
    return AtomicFile(path, "", fd);
  }
  if (exists) {
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
    if (real) target = real.get();
    mode = info.st_mode & 0777;
  }
  static std::atomic<unsigned> serial{0};
  for (int attempt = 0;; ++attempt) {
    const std::string temporary =
        target + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(serial.fetch_add(1));
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd >= 0) {
      // The umask may have taken bits that the old file had; a file system without modes may refuse, which is no harm.
      if (exists && ::fchmod(fd, mode) != 0) errno = 0;
      return AtomicFile(target, temporary, fd);
    }
    if (errno != EEXIST || attempt == 100) return file_error("write", path, errno);
  }
}

Status AtomicFile::fail(const char* doing, int error) {
  abandon();
  return file_error(doing, path_, error);
}

Status AtomicFile::write(const void* data, size_t size) {
  if (fd_ < 0) return {StatusCode::kInternal, "the file is not open for writing", path_};
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd_, p, std::min(size, size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail("write", errno);
    }
    p += n;
    size -= static_cast<size_t>(n);
  }
  return Status::ok();
}

Status AtomicFile::commit() {
  if (fd_ < 0) return {StatusCode::kInternal, "the file is not open for writing", path_};
  // A device or a pipe cannot be synced, and need not be.
  if (!temporary_.empty() && ::fsync(fd_) != 0 && errno != EINVAL) return fail("write", errno);
  if (::close(std::exchange(fd_, -1)) != 0) return fail("write", errno);
  if (temporary_.empty()) return Status::ok();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return fail("write", errno);
  temporary_.clear();
  // The new name must survive a power cut as well; the data is safe already, so a refusal here is not an error.
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, std::max<size_t>(slash, 1));
  if (const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
  return Status::ok();
}

}  // namespace microtome
