#include "core/store/schema.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/base/resources.h"
#include "core/base/status.h"

namespace microtome {

namespace {

[[noreturn]] void throw_newer(const std::string& path, int64_t version, int64_t newest) {
  throw Error(StatusCode::kUnsupported,
              "the project is of version " + std::to_string(version) + ", this program knows versions up to " +
                  std::to_string(newest),
              path, "open it with a newer microtome");
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

void remove_with_logs(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) ::unlink((path + suffix).c_str());
}

// A rename is durable only when its folder is.
void sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
}

}  // namespace

std::vector<Migration> embedded_migrations() {
  std::vector<Migration> steps;
  for (const auto& [key, text] : embedded_resources()) {      // ordered by name, so by number
    if (key.compare(0, 4, "sql/") != 0) continue;
    Migration m;
    m.name = key.substr(4);
    m.sql = text;
    size_t i = 0;
    while (i < m.name.size() && i < 6 && m.name[i] >= '0' && m.name[i] <= '9') {
      m.version = m.version * 10 + (m.name[i++] - '0');
    }
    if (m.version != static_cast<int64_t>(steps.size()) + 1) {
      throw Error(StatusCode::kInternal,
                  "migration number " + std::to_string(steps.size() + 1) + " is missing or repeated", key);
    }
    steps.push_back(std::move(m));
  }
  if (steps.empty()) throw Error(StatusCode::kInternal, "this build has no project migrations in it");
  return steps;
}

FileKind look_at_project(const std::string& path, int64_t newest) {
  // O_NONBLOCK: a FIFO would otherwise wait for its other end.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT) return FileKind::kAbsent;
    throw Error(StatusCode::kBadInput, std::string("cannot open the project: ") + std::strerror(errno), path,
                "check the path and the rights on the file");
  }
  struct stat st{};
  std::array<uint8_t, 100> head{};
  ssize_t n = 0;
  bool regular = ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
  if (regular) n = ::pread(fd, head.data(), head.size(), 0);
  ::close(fd);
  const char* todo = "name another file, or move this one away";
  if (!regular) throw Error(StatusCode::kBadInput, "the project is not a regular file", path, todo);
  if (n == 0) return FileKind::kEmpty;
  if (n < static_cast<ssize_t>(head.size()) || std::memcmp(head.data(), "SQLite format 3", 16) != 0) {
    throw Error(StatusCode::kBadInput, "the file is not a project (not an SQLite database)", path, todo);
  }
  if (big_endian(&head[68]) != kProjectApplicationId) {
    throw Error(StatusCode::kBadInput, "the file is an SQLite database of another program, not a project", path, todo);
  }
  int64_t version = static_cast<int32_t>(big_endian(&head[60]));
  if (version > newest) throw_newer(path, version, newest);
  return FileKind::kProject;
}

int64_t check_project(Database& db, int64_t newest) {
  if (static_cast<uint32_t>(db.pragma_integer("application_id")) != kProjectApplicationId) {
    throw Error(StatusCode::kBadInput, "the file is an SQLite database of another program, not a project", db.path(),
                "name another file, or move this one away");
  }
  int64_t version = db.pragma_integer("user_version");
  if (version > newest) throw_newer(db.path(), version, newest);
  if (version < 1) {
    throw Error(StatusCode::kBadInput, "the project has no version", db.path(), "restore the project file from a copy");
  }
  return version;
}

void migrate(Database& db, int64_t from, const std::vector<Migration>& steps) {
  for (const Migration& step : steps) {
    if (step.version <= from) continue;
    Transaction t(db, Transaction::Kind::kWrite);
    db.exec(step.sql);
    db.exec("PRAGMA user_version=" + std::to_string(step.version));
    t.commit();
  }
}

void create_project(const std::string& path, const std::vector<Migration>& steps) {
  const std::string fresh = path + ".new";
  remove_with_logs(fresh);
  try {
    Database db(fresh, Database::Open::kCreate);
    db.exec("PRAGMA application_id=" + std::to_string(kProjectApplicationId));
    migrate(db, 0, steps);
    // Last, so that everything above is in the file itself and not in a log that the rename would leave behind.
    db.exec("PRAGMA journal_mode=WAL");
  } catch (const Error& e) {
    remove_with_logs(fresh);
    throw Error(e.status().code(), e.status().what(), path, e.status().todo());
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0) {
    int error = errno;
    remove_with_logs(fresh);
    throw Error(StatusCode::kFailed, std::string("cannot make the project: ") + std::strerror(error), path,
                "check the rights on the folder");
  }
  sync_folder_of(path);
}

}  // namespace microtome
