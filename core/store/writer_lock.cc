#include "core/store/writer_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/base/status.h"

namespace microtome {

namespace {

// "process 123 on host" as the lock file tells it, or less when it tells less.
std::string holder_of(int fd) {
  std::array<char, 300> buffer{};
  ssize_t n = ::pread(fd, buffer.data(), buffer.size() - 1, 0);
  std::string text(buffer.data(), n > 0 ? static_cast<size_t>(n) : 0);
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0 || digits > 20) return "another process";
  std::string host;
  for (size_t i = digits + 1; i < text.size() && static_cast<unsigned char>(text[i]) > 0x20; ++i) host += text[i];
  return "process " + text.substr(0, digits) + (host.empty() ? "" : " on " + host);
}

bool is_the_file(int fd, const std::string& path) {
  struct stat mine{}, there{};
  return ::fstat(fd, &mine) == 0 && ::lstat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
         mine.st_dev == there.st_dev;
}

}  // namespace

std::unique_ptr<WriterLock> WriterLock::take(const std::string& project_path) {
  const std::string path = project_path + ".lock";
  // The holder removes the file when it lets go, so a lock won on a file that is no longer there is tried again.
  for (int round = 0; round < 100; ++round) {
    int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
      int error = errno;
      if (error == ENOENT) {
        throw Error(StatusCode::kNotFound, "the project's folder does not exist", project_path,
                    "make the folder first");
      }
      throw Error(StatusCode::kFailed, std::string("cannot make the lock file: ") + std::strerror(error), path,
                  "check the rights on the folder");
    }
    int rc;
    do {
      rc = ::flock(fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
      int error = errno;
      std::string holder = holder_of(fd);
      ::close(fd);
      if (error == EWOULDBLOCK) {
        throw Error(StatusCode::kBusy, "the project is open for writing by " + holder, project_path,
                    "close it there, or open it for reading");
      }
      throw Error(StatusCode::kFailed, std::string("cannot lock the project: ") + std::strerror(error), path,
                  "keep the project on a disk whose file system has locks");
    }
    if (!is_the_file(fd, path)) {
      ::close(fd);
      continue;
    }
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
    std::string text = std::to_string(::getpid()) + " " + host.data() + "\n";
    // What is written here is for a person; the lock holds without it.
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) < 0) errno = 0;
    return std::unique_ptr<WriterLock>(new WriterLock(path, fd));
  }
  throw Error(StatusCode::kBusy, "the project's lock file is being replaced again and again", path, "try again");
}

WriterLock::WriterLock(std::string path, int fd) : path_(std::move(path)), fd_(fd), pid_(::getpid()) {}

WriterLock::~WriterLock() {
  // Removed while still held: whoever waits on this file finds it gone and opens the next one.
  if (pid_ == ::getpid() && is_the_file(fd_, path_)) ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace microtome
