// schema.h — which files are projects, and how a project gets from an older version to this one; private to core/store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/store/sql.h"

namespace microtome {

inline constexpr uint32_t kProjectApplicationId = 0x4d74'6f6d;   // "Mtom", in the file's header

struct Migration {
  int64_t version = 0;          // user_version after it
  std::string name, sql;
};

// resources/sql/NNN_name.sql in order: 1, 2, 3 … A hole or a repeated number is Error(kInternal).
std::vector<Migration> embedded_migrations();

enum class FileKind { kAbsent, kEmpty, kProject };
// Looks at the first bytes of the file only, and changes nothing. Throws kBadInput for a file that is no project and
// kUnsupported for one whose version is above `newest`.
FileKind look_at_project(const std::string& path, int64_t newest);
// The same two questions asked through the connection, which also sees the write-ahead log. Returns the version.
int64_t check_project(Database& db, int64_t newest);

// Runs the steps above `from`, each in a transaction of its own: after a failure the file is at the last whole version.
void migrate(Database& db, int64_t from, const std::vector<Migration>& steps);
// Makes a project beside `path` and renames it into place, so that a project file is whole or absent. The caller holds
// the writer's lock.
void create_project(const std::string& path, const std::vector<Migration>& steps);

}  // namespace microtome
