// sql.h — a connection and a statement of SQLite, owned; private to core/store. Errors are thrown as Error with the
// project's path, and turned into a Status by the store's outer functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace microtome {

class Database;

// One prepared statement. Not thread-safe. Columns are valid until the next step().
class Statement {
 public:
  Statement(Database& db, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // To run it again with other parameters.
  Statement& reset();
  // Parameters in order, from 1. The bytes are copied for text and must outlive the statement's run for blobs.
  Statement& bind(int64_t v);
  Statement& bind(double v);
  Statement& bind(std::string_view v);
  Statement& bind_blob(std::span<const uint8_t> v);
  Statement& bind_null();
  // True when a row is there to read.
  bool step();
  // For a statement without rows.
  void run() { while (step()) {} }

  bool is_null(int column) const;
  int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  std::span<const uint8_t> blob(int column) const;

 private:
  void check_bind(int rc);
  Database& db_;
  sqlite3_stmt* stmt_ = nullptr;
  int next_ = 1;
};

// One connection. Not thread-safe: the store serialises. Nothing in the file is trusted: no triggers, no views, no
// functions from the schema, cells checked. While `keep_log` holds, closing leaves the write-ahead log alone, so that a
// file that turns out to be another program's is not touched.
class Database {
 public:
  // kImmutable: for read-only media; the file must have no live log.
  enum class Open { kReadOnly, kReadWrite, kCreate, kImmutable };
  Database(const std::string& path, Open how);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Several statements; rows are dropped. `doing` begins the sentence of an error.
  void exec(const std::string& sql, const char* doing = "cannot work on the project");
  int64_t pragma_integer(const std::string& name);
  void keep_log(bool keep);
  int64_t last_insert_id() const;
  int64_t changes() const;
  sqlite3* handle() const { return db_; }
  const std::string& path() const { return path_; }
  // Throws the Error for this result code, with SQLite's message and the system's.
  [[noreturn]] void fail(int rc, const std::string& doing) const;

 private:
  std::string path_;
  sqlite3* db_ = nullptr;
};

// BEGIN IMMEDIATE (or deferred, for a consistent read) … commit(), else rolled back. Statements made inside must be
// gone or at their end before commit().
class Transaction {
 public:
  enum class Kind { kRead, kWrite };
  Transaction(Database& db, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& db_;
  bool open_ = true;
};

}  // namespace microtome
