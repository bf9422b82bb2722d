// writer_lock.h — one writer a project: a lock file "<project>.lock" held with flock(2); private to core/store.
#pragma once

#include <memory>
#include <string>

namespace microtome {

// Held while it lives. The kernel lets go when the process dies, however it dies; the file then stays behind, and is no
// obstacle. It holds "PID HOST" for a person to read.
class WriterLock {
 public:
  // Throws kBusy naming the process that holds the project; kNotFound when the folder is not there.
  static std::unique_ptr<WriterLock> take(const std::string& project_path);
  ~WriterLock();
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  WriterLock(std::string path, int fd);
  std::string path_;
  int fd_;
  long pid_;                     // a forked child shares the lock, but must not remove the file
};

}  // namespace microtome
