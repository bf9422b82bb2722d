#include "core/store/sql.h"

#include <sqlite3.h>

#include <cstring>

#include "core/base/status.h"

namespace microtome {

namespace {

std::string percent_encoded(const std::string& path) {
  static const char* kHex = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : path) {
    if (c == '%' || c == '?' || c == '#' || c < 0x20) {
      out += '%';
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

}  // namespace

Statement::Statement(Database& db, std::string_view sql) : db_(db) {
  int rc = sqlite3_prepare_v2(db.handle(), sql.data(), static_cast<int>(sql.size()), &stmt_, nullptr);
  if (rc == SQLITE_ERROR) {
    throw Error(StatusCode::kBadInput,
                std::string("the project's tables are not as this program expects: ") + sqlite3_errmsg(db.handle()),
                db.path(), "restore the project file from a copy");
  }
  if (rc != SQLITE_OK) db.fail(rc, "cannot read the project");
}

Statement::~Statement() { sqlite3_finalize(stmt_); }

Statement& Statement::reset() {
  sqlite3_reset(stmt_);                        // gives the error of the last step again, which has been thrown
  sqlite3_clear_bindings(stmt_);
  next_ = 1;
  return *this;
}

void Statement::check_bind(int rc) {
  if (rc != SQLITE_OK) db_.fail(rc, "cannot pass value " + std::to_string(next_ - 1) + " to the project database");
}

Statement& Statement::bind(int64_t v) {
  check_bind(sqlite3_bind_int64(stmt_, next_++, v));
  return *this;
}

Statement& Statement::bind(double v) {
  check_bind(sqlite3_bind_double(stmt_, next_++, v));
  return *this;
}

Statement& Statement::bind(std::string_view v) {
  // A null pointer would bind NULL, and an empty text is not that.
  const char* data = v.empty() ? "" : v.data();
  check_bind(sqlite3_bind_text64(stmt_, next_++, data, v.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind_blob(std::span<const uint8_t> v) {
  if (v.empty()) {
    check_bind(sqlite3_bind_zeroblob(stmt_, next_++, 0));
  } else {
    check_bind(sqlite3_bind_blob64(stmt_, next_++, v.data(), v.size(), SQLITE_STATIC));
  }
  return *this;
}

Statement& Statement::bind_null() {
  check_bind(sqlite3_bind_null(stmt_, next_++));
  return *this;
}

bool Statement::step() {
  int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  db_.fail(rc, sqlite3_stmt_readonly(stmt_) ? "cannot read the project" : "cannot write to the project");
}

bool Statement::is_null(int column) const { return sqlite3_column_type(stmt_, column) == SQLITE_NULL; }
int64_t Statement::integer(int column) const { return sqlite3_column_int64(stmt_, column); }
double Statement::real(int column) const { return sqlite3_column_double(stmt_, column); }

std::string Statement::text(int column) const {
  const void* data = sqlite3_column_text(stmt_, column);
  int n = sqlite3_column_bytes(stmt_, column);
  return data ? std::string(static_cast<const char*>(data), static_cast<size_t>(n)) : std::string();
}

std::span<const uint8_t> Statement::blob(int column) const {
  const void* data = sqlite3_column_blob(stmt_, column);
  int n = sqlite3_column_bytes(stmt_, column);
  return {static_cast<const uint8_t*>(data), data ? static_cast<size_t>(n) : 0};
}

Database::Database(const std::string& path, Open how) : path_(path) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  std::string name = path;
  switch (how) {
    case Open::kReadOnly: flags |= SQLITE_OPEN_READONLY; break;
    case Open::kReadWrite: flags |= SQLITE_OPEN_READWRITE; break;
    case Open::kCreate: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE; break;
    case Open::kImmutable:
      flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
      name = "file:" + percent_encoded(path) + "?immutable=1";
      break;
  }
  // A relative name that begins with "file:" would be taken for a URI by some builds.
  if (how != Open::kImmutable && name.compare(0, 5, "file:") == 0) name = "./" + name;
  int rc = sqlite3_open_v2(name.c_str(), &db_, flags, nullptr);
  try {
    if (rc != SQLITE_OK) fail(rc, "cannot open the project");
    sqlite3_busy_timeout(db_, 5000);
    keep_log(true);
    int ignored = 0;
    sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, &ignored);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &ignored);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, &ignored);   // foreign-key actions still work
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_VIEW, 0, &ignored);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_FKEY, 1, &ignored);
    exec("PRAGMA cell_size_check=ON; PRAGMA synchronous=FULL;");
  } catch (...) {
    sqlite3_close(db_);
    throw;
  }
}

Database::~Database() { sqlite3_close(db_); }

void Database::exec(const std::string& sql, const char* doing) {
  int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) fail(rc, doing);
}

int64_t Database::pragma_integer(const std::string& name) {
  Statement s(*this, "PRAGMA " + name);
  return s.step() ? s.integer(0) : 0;
}

void Database::keep_log(bool keep) {
  int ignored = 0;
  sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep ? 1 : 0, &ignored);
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(db_); }
int64_t Database::changes() const { return sqlite3_changes64(db_); }

void Database::fail(int rc, const std::string& doing) const {
  std::string why = db_ ? sqlite3_errmsg(db_) : sqlite3_errstr(rc);
  int system = db_ ? sqlite3_system_errno(db_) : 0;
  switch (rc & 0xff) {
    case SQLITE_FULL:
      throw Error(StatusCode::kFailed, doing + ": the disk is full", path_,
                  "free some space and run again; what was committed is kept");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(StatusCode::kBusy, doing + ": another process holds it (" + why + ")", path_,
                  "wait until the other process is done");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw Error(StatusCode::kBadInput, "the project file is damaged: " + why, path_,
                  "restore the project file from a copy");
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      if (system != 0) why += std::string(", ") + std::strerror(system);
      if (rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_FSYNC) why += "; the disk refuses to take more";
      throw Error(StatusCode::kFailed, doing + ": " + why, path_,
                  "check the disk's free space and the rights on the folder; what was committed is kept");
    case SQLITE_READONLY:
      throw Error(StatusCode::kFailed, doing + ": " + why, path_, "check the rights on the file and its folder");
    case SQLITE_TOOBIG:
      throw Error(StatusCode::kFailed, doing + ": a value is larger than the database can hold", path_);
    case SQLITE_NOMEM:
      throw Error(StatusCode::kFailed, doing + ": out of memory", path_);
    default:
      throw Error(StatusCode::kFailed, doing + ": " + why, path_);
  }
}

Transaction::Transaction(Database& db, Kind kind) : db_(db) {
  const bool write = kind == Kind::kWrite;
  db_.exec(write ? "BEGIN IMMEDIATE" : "BEGIN", write ? "cannot write to the project" : "cannot read the project");
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself (a full disk); a second ROLLBACK then only returns an error.
  if (open_ && sqlite3_get_autocommit(db_.handle()) == 0) {
    sqlite3_exec(db_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

void Transaction::commit() {
  db_.exec("COMMIT", "cannot write to the project");
  open_ = false;
}

}  // namespace microtome
