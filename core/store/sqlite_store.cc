#include "core/store/sqlite_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>

#include "core/base/quote.h"
#include "core/store/artifact_codec.h"
#include "core/store/schema.h"

namespace microtome {

namespace {

constexpr const char* kRunColumns =
    "SELECT id, key_hash, key_text, analysis, model_name, dataset_name, title, command, created, spec, state, "
    "items_total, note, deleted, (SELECT count(*) FROM items WHERE items.run_id = runs.id) FROM runs ";

std::string now_utc() {
  std::time_t t = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

bool has_log(const std::string& path) {
  struct stat st{};
  return ::stat((path + "-wal").c_str(), &st) == 0 && st.st_size > 0;
}

std::unique_ptr<Database> open_to_read(const std::string& path, int64_t newest) {
  try {
    auto db = std::make_unique<Database>(path, Database::Open::kReadOnly);
    check_project(*db, newest);
    return db;
  } catch (const Error& e) {
    // On read-only media SQLite cannot make the shared index of the log; without a log none is needed.
    if (e.status().code() != StatusCode::kFailed || has_log(path)) throw;
  }
  auto db = std::make_unique<Database>(path, Database::Open::kImmutable);
  check_project(*db, newest);
  return db;
}

std::unique_ptr<Database> open_to_write(const std::string& path, const std::vector<Migration>& steps) {
  auto db = std::make_unique<Database>(path, Database::Open::kReadWrite);
  int64_t version = check_project(*db, steps.back().version);
  {
    Statement mode(*db, "PRAGMA journal_mode=WAL");
    if (!mode.step() || mode.text(0) != "wal") {
      throw Error(StatusCode::kFailed, "the file system under the project cannot hold a write-ahead log", path,
                  "move the project to a local disk");
    }
  }
  db->keep_log(false);
  migrate(*db, version, steps);
  return db;
}

}  // namespace

Result<std::shared_ptr<ResultStore>> ResultStore::open(const std::string& path, Mode mode) {
  try {
    if (path.empty() || path.find('\0') != std::string::npos) {
      return Status(StatusCode::kBadInput, "the project has no usable file name", path, "name a .microtome file");
    }
    std::error_code error;
    std::string real = std::filesystem::weakly_canonical(path, error).string();
    if (error || real.empty()) real = path;
    const std::vector<Migration> steps = embedded_migrations();
    const int64_t newest = steps.back().version;

    FileKind kind = look_at_project(real, newest);
    std::unique_ptr<WriterLock> lock;
    std::unique_ptr<Database> db;
    if (mode == Mode::kReadOnly) {
      if (kind == FileKind::kAbsent) {
        return Status(StatusCode::kNotFound, "there is no such project", path, "check the path");
      }
      if (kind == FileKind::kEmpty) return Status(StatusCode::kBadInput, "the file is empty, not a project", path);
      db = open_to_read(real, newest);
      int64_t version = db->pragma_integer("user_version");
      if (version < newest) {
        return Status(StatusCode::kUnsupported,
                      "the project is of version " + std::to_string(version) + ", this program reads version " +
                          std::to_string(newest),
                      path, "open it for writing once (any run does), which brings it up to date");
      }
    } else {
      lock = WriterLock::take(real);
      kind = look_at_project(real, newest);         // another writer may just have made it
      if (kind != FileKind::kProject) create_project(real, steps);
      db = open_to_write(real, steps);
    }
    return std::shared_ptr<ResultStore>(
        std::make_shared<SqliteStore>(path, real, std::move(lock), std::move(db)));
  } catch (...) {
    return status_of_current_exception();
  }
}

SqliteStore::SqliteStore(std::string path, const std::string& real_path, std::unique_ptr<WriterLock> lock,
                         std::unique_ptr<Database> db)
    : path_(std::move(path)), lock_(std::move(lock)), db_(std::move(db)), tensors_(real_path + "-tensors") {}

void SqliteStore::require_writer() const {
  if (!lock_) {
    throw Error(StatusCode::kFailed, "the project is open for reading only", path_, "open it for writing");
  }
}

void SqliteStore::require_run(int64_t run_id) {
  Statement s(*db_, "SELECT 1 FROM runs WHERE id = ?");
  if (!s.bind(run_id).step()) {
    throw Error(StatusCode::kNotFound, "the project has no run " + std::to_string(run_id), path_,
                "`microtome runs` lists them");
  }
}

void SqliteStore::update_run(int64_t run_id, const char* sql, int64_t value) {
  require_writer();
  require_run(run_id);
  Statement(*db_, sql).bind(value).bind(run_id).run();
}

RunRecord SqliteStore::record_of(const Statement& row) const {
  RunRecord r;
  r.id = row.integer(0);
  r.key_hash = row.text(1);
  r.key_text = row.text(2);
  r.analysis = row.text(3);
  r.model_name = row.text(4);
  r.dataset_name = row.text(5);
  r.title = row.text(6);
  r.command = row.text(7);
  r.created = row.text(8);
  r.spec = decode_spec(row.text(9), path_ + ", run " + std::to_string(r.id));
  r.state = static_cast<RunStatus>(std::clamp<int64_t>(row.integer(10), 0, 3));
  r.items_total = row.integer(11);
  r.note = row.text(12);
  r.deleted = row.text(13);
  r.items_done = row.integer(14);
  return r;
}

RunRecord SqliteStore::run_by_id(int64_t run_id) {
  require_run(run_id);
  Statement s(*db_, std::string(kRunColumns) + "WHERE id = ?");
  s.bind(run_id).step();
  return record_of(s);
}

std::vector<RunRecord> SqliteStore::runs_where(const char* condition) {
  std::vector<RunRecord> out;
  Statement s(*db_, std::string(kRunColumns) + "WHERE " + condition + " ORDER BY id");
  while (s.step()) out.push_back(record_of(s));
  return out;
}

Result<RunRecord> SqliteStore::begin_run(const RunSpec& spec, const RunKey& key, const std::string& title) {
  return guarded([&] {
    std::optional<RunRecord> known;
    {
      Statement found(*db_, std::string(kRunColumns) + "WHERE key_hash = ?");
      if (found.bind(key.hash).step()) known = record_of(found);
    }
    if (known) {
      // Who asks for a run again wants to see it.
      if (!known->deleted.empty() && lock_) {
        Statement(*db_, "UPDATE runs SET deleted = '' WHERE id = ?").bind(known->id).run();
        known->deleted.clear();
      }
      return *known;
    }
    require_writer();
    if (!is_tensor_hash(key.hash)) throw Error(StatusCode::kInternal, "a run's key must be a SHA-256", key.hash);
    Statement s(*db_,
                "INSERT INTO runs (key_hash, key_text, analysis, model_name, dataset_name, title, command, created, "
                "spec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    s.bind(key.hash).bind(key.text).bind(spec.analysis).bind(spec.model_name).bind(spec.dataset_name).bind(title);
    s.bind(spec.command).bind(now_utc()).bind(encode_spec(spec, path_)).run();
    return run_by_id(db_->last_insert_id());
  });
}

Status SqliteStore::set_items_total(int64_t run_id, int64_t total) {
  return guarded_status([&] { update_run(run_id, "UPDATE runs SET items_total = ? WHERE id = ?", total); });
}

Result<int64_t> SqliteStore::batch_size(int64_t run_id) {
  return guarded([&] {
    require_run(run_id);
    Statement s(*db_, "SELECT batch_size FROM runs WHERE id = ?");
    s.bind(run_id).step();
    return s.integer(0);
  });
}

Status SqliteStore::set_batch_size(int64_t run_id, int64_t batch) {
  return guarded_status([&] { update_run(run_id, "UPDATE runs SET batch_size = ? WHERE id = ?", batch); });
}

Result<int64_t> SqliteStore::begin_attempt(int64_t run_id, const std::string& device,
                                           const std::string& versions_json) {
  return guarded([&] {
    require_writer();
    require_run(run_id);
    Transaction t(*db_, Transaction::Kind::kWrite);
    // An attempt without an end was killed: say so, now that someone looks.
    Statement(*db_,
              "UPDATE attempts SET error = 'the process ended before the run did', "
              "items_after = (SELECT count(*) FROM items WHERE items.run_id = attempts.run_id) "
              "WHERE run_id = ? AND ended = '' AND error = ''")
        .bind(run_id)
        .run();
    Statement(*db_,
              "UPDATE runs SET state = EXISTS (SELECT 1 FROM items WHERE items.run_id = runs.id) "
              "WHERE id = ? AND state = 3")
        .bind(run_id)
        .run();
    Statement(*db_,
              "INSERT INTO attempts (run_id, started, device, versions, items_before) "
              "VALUES (?, ?, ?, ?, (SELECT count(*) FROM items WHERE run_id = ?))")
        .bind(run_id)
        .bind(now_utc())
        .bind(device)
        .bind(versions_json)
        .bind(run_id)
        .run();
    int64_t id = db_->last_insert_id();
    t.commit();
    return id;
  });
}

Status SqliteStore::end_attempt(int64_t attempt_id, double seconds, const std::string& error,
                                const std::string& events_json) {
  return guarded_status([&] {
    require_writer();
    Transaction t(*db_, Transaction::Kind::kWrite);
    Statement(*db_,
              "UPDATE attempts SET ended = ?, seconds = ?, error = ?, events = ?, "
              "items_after = (SELECT count(*) FROM items WHERE items.run_id = attempts.run_id) WHERE id = ?")
        .bind(now_utc())
        .bind(seconds)
        .bind(error)
        .bind(events_json)
        .bind(attempt_id)
        .run();
    if (db_->changes() == 0) {
      throw Error(StatusCode::kNotFound, "the project has no attempt " + std::to_string(attempt_id), path_);
    }
    // A cancelled run is not a failed one: it is as far as it got.
    bool failed = !error.empty() && error.compare(0, 9, "cancelled") != 0;
    if (failed) {
      Statement(*db_, "UPDATE runs SET state = 3 WHERE id = (SELECT run_id FROM attempts WHERE id = ?) AND state <> 2")
          .bind(attempt_id)
          .run();
    }
    t.commit();
  });
}

Result<RunRecord> SqliteStore::find_run(const std::string& id_or_key) {
  return guarded([&] {
    auto absent = [&] {
      return Error(StatusCode::kNotFound, "the project has no run " + in_quotes(id_or_key), path_,
                   "`microtome runs` lists them");
    };
    int64_t id = 0;
    const char* end = id_or_key.data() + id_or_key.size();
    auto parsed = std::from_chars(id_or_key.data(), end, id);
    bool is_number = parsed.ec == std::errc() && parsed.ptr == end && std::to_string(id) == id_or_key;
    if (is_number) {
      // An id is what people type and see; a key prefix made of digits alone can be lengthened.
      Statement s(*db_, std::string(kRunColumns) + "WHERE id = ?");
      if (s.bind(id).step()) return record_of(s);
    }
    std::string prefix = id_or_key;
    for (char& c : prefix) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (prefix.empty() || prefix.size() > 64 || prefix.find_first_not_of("0123456789abcdef") != std::string::npos) {
      throw absent();
    }
    if (prefix.size() < 4) {
      if (is_number) throw absent();
      throw Error(StatusCode::kBadInput, "the key prefix " + in_quotes(id_or_key) + " is too short", path_,
                  "give a run's number, or four digits of its key or more");
    }
    std::vector<RunRecord> found;
    Statement s(*db_, std::string(kRunColumns) + "WHERE key_hash >= ? AND key_hash < ? ORDER BY id LIMIT 9");
    s.bind(prefix).bind(prefix + "g");
    while (s.step()) found.push_back(record_of(s));
    if (found.empty()) throw absent();
    if (found.size() > 1) {
      std::string list;
      for (size_t i = 0; i < found.size() && i < 8; ++i) {
        list += (i ? ", " : "") + std::to_string(found[i].id) + " (" + found[i].key_hash.substr(0, 12) + " " +
                found[i].analysis + ")";
      }
      if (found.size() > 8) list += ", …";
      throw Error(StatusCode::kBadInput, "the key prefix " + in_quotes(id_or_key) + " fits several runs: " + list,
                  path_, "give more digits, or the run's number");
    }
    return found[0];
  });
}

Result<std::vector<AttemptRecord>> SqliteStore::attempts(int64_t run_id) {
  return guarded([&] {
    require_run(run_id);
    std::vector<AttemptRecord> out;
    Statement s(*db_,
                "SELECT id, run_id, started, ended, device, versions, error, items_before, items_after, seconds, "
                "events FROM attempts WHERE run_id = ? ORDER BY id");
    s.bind(run_id);
    while (s.step()) {
      out.push_back({s.integer(0), s.integer(1), s.text(2), s.text(3), s.text(4), s.text(5), s.text(6), s.integer(7),
                     s.integer(8), s.real(9), s.text(10)});
    }
    return out;
  });
}

}  // namespace microtome
