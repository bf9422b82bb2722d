// sqlite_store.h — the ResultStore over SQLite; private to core/store (and its tests). Every call takes the mutex, so
// one connection serves all threads. Inside, errors are thrown as Error; each public function ends in guarded().
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/store/result_store.h"
#include "core/store/sql.h"
#include "core/store/tensor_files.h"
#include "core/store/writer_lock.h"

namespace microtome {

class SqliteStore final : public ResultStore {
 public:
  // `path` as the caller gave it; `real_path` with links followed, where lock, log and tensors lie.
  SqliteStore(std::string path, const std::string& real_path, std::unique_ptr<WriterLock> lock,
              std::unique_ptr<Database> db);

  const std::string& path() const override { return path_; }
  Result<RunRecord> begin_run(const RunSpec& spec, const RunKey& key, const std::string& title) override;
  Status set_items_total(int64_t run_id, int64_t total) override;
  Result<int64_t> batch_size(int64_t run_id) override;
  Status set_batch_size(int64_t run_id, int64_t batch) override;
  Result<int64_t> begin_attempt(int64_t run_id, const std::string& device, const std::string& versions_json) override;
  Status end_attempt(int64_t attempt_id, double seconds, const std::string& error,
                     const std::string& events_json) override;
  Status put_item(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) override;
  Result<std::optional<std::vector<NamedArray>>> item(int64_t run_id, int64_t item) override;
  Result<std::vector<int64_t>> items_done(int64_t run_id) override;
  Status put_state(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) override;
  Result<std::optional<KeptState>> state(int64_t run_id) override;
  Status finish_run(int64_t run_id, const AnalysisResult& result) override;
  Result<AnalysisResult> result(int64_t run_id) override;
  Result<FeaturePage> search_features(int64_t run_id, const FeatureQuery& query) override;
  Result<FeatureSet> feature(int64_t run_id, int64_t index) override;
  Status set_feature_label(int64_t run_id, int64_t index, const std::string& label) override;
  Status put_context(int64_t run_id, const std::string& name, const std::string& json) override;
  Result<std::string> context(int64_t run_id, const std::string& name) override;
  Result<std::vector<RunRecord>> runs() override;
  Result<RunRecord> find_run(const std::string& id_or_key) override;
  Result<std::vector<AttemptRecord>> attempts(int64_t run_id) override;
  Status set_note(int64_t run_id, const std::string& note) override;
  Status set_artifact_note(int64_t run_id, const std::string& artifact, const std::string& note) override;
  Result<std::map<std::string, std::string>> artifact_notes(int64_t run_id) override;
  Status set_deleted(int64_t run_id, bool deleted) override;
  Result<std::vector<RunRecord>> trash() override;
  Result<int64_t> empty_trash() override;
  Status delete_run(int64_t run_id) override;
  Result<GcReport> gc(bool dry_run) override;

  // For tests that limit the database's size; not for use beside other threads.
  Database& database() { return *db_; }

 private:
  // One at a time, and exceptions become the Status.
  template <class F>
  auto guarded(F&& body) -> Result<decltype(body())> {
    try {
      std::lock_guard<std::mutex> hold(mutex_);
      return body();
    } catch (...) {
      return status_of_current_exception();
    }
  }
  template <class F>
  Status guarded_status(F&& body) {
    return guarded([&] { body(); return true; }).status();
  }

  void require_writer() const;
  void require_run(int64_t run_id);                // kNotFound
  void update_run(int64_t run_id, const char* sql, int64_t value);
  RunRecord record_of(const Statement& row) const;
  RunRecord run_by_id(int64_t run_id);
  std::vector<RunRecord> runs_where(const char* condition);
  std::pair<int64_t, FeatureSet> feature_head(int64_t run_id);   // artifact's place, and the set without features
  // The arrays as bytes: small ones stay, large ones are written as files and become their hash.
  struct Stored {
    std::vector<uint8_t> blob;
    std::string file;
  };
  std::string state_file(int64_t run_id);          // "": none, or a small one
  void remove_unreferenced(const std::string& file);
  Stored store_arrays(const std::vector<NamedArray>& arrays);
  static void bind_stored(Statement& s, const Stored& stored);
  std::vector<NamedArray> load_arrays(const Statement& row, int blob_column, const std::string& owner) const;

  const std::string path_;
  std::unique_ptr<WriterLock> lock_;               // null: open for reading; released after the connection
  std::unique_ptr<Database> db_;
  TensorFiles tensors_;
  std::mutex mutex_;
};

}  // namespace microtome
