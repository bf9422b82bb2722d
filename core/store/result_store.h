// result_store.h — the project file (*.microtome: SQLite in WAL mode, foreign keys, numbered migrations in
// user_version) with large tensors beside it in "<file>-tensors/" as content-hashed safetensors files. Runs are found
// by key; what happened (device, versions, times, error) is an attempt under the run; items commit one by one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/status.h"
#include "core/store/feature_query.h"
#include "core/store/run_spec.h"

namespace microtome {

enum class RunStatus { kNew, kPartial, kDone, kFailed };

struct RunRecord {
  int64_t id = 0;
  std::string key_hash, key_text, analysis, model_name, dataset_name, title, command, created;  // created: ISO 8601 UTC
  RunSpec spec;
  RunStatus state = RunStatus::kNew;
  int64_t items_done = 0, items_total = 0;
  std::string note;
  std::string deleted;                                   // when it went to the trash, ISO 8601 UTC; empty: it did not
};

struct AttemptRecord {
  int64_t id = 0, run_id = 0;
  std::string started, ended, device, versions, error;   // versions: JSON text
  int64_t items_before = 0, items_after = 0;
  double seconds = 0;
  std::string events;                                    // JSON list: "batch halved to 8 for lack of memory" …
};

// One writer a project: open() for writing takes the lock of "<file>.lock" (kBusy names the process that holds it);
// readers may read meanwhile. All calls are serialised inside; any thread may call. Errors: kFailed for a full disk
// (nothing lost), kBadInput for a file that is not a project, kUnsupported for one that is newer than this program;
// such files are never changed. kNotFound: no such project (reading), or no such run.
class ResultStore {
 public:
  enum class Mode { kReadOnly, kReadWrite };
  static Result<std::shared_ptr<ResultStore>> open(const std::string& path, Mode mode);
  virtual ~ResultStore() = default;
  virtual const std::string& path() const = 0;

  // The run of this key, made if absent.
  virtual Result<RunRecord> begin_run(const RunSpec& spec, const RunKey& key, const std::string& title) = 0;
  virtual Status set_items_total(int64_t run_id, int64_t total) = 0;
  // Batch size chosen once, kept and used again on resume. 0: not chosen yet.
  virtual Result<int64_t> batch_size(int64_t run_id) = 0;
  virtual Status set_batch_size(int64_t run_id, int64_t batch) = 0;

  // A failed run becomes new or partial again. An earlier attempt that never ended is marked as killed.
  virtual Result<int64_t> begin_attempt(int64_t run_id, const std::string& device,
                                        const std::string& versions_json) = 0;
  // A non-empty error marks the run failed, unless it is done or the error begins with "cancelled".
  virtual Status end_attempt(int64_t attempt_id, double seconds, const std::string& error,
                             const std::string& events_json) = 0;

  // Item results; commit is durable when it returns. Loading an absent item gives an empty optional.
  virtual Status put_item(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) = 0;
  virtual Result<std::optional<std::vector<NamedArray>>> item(int64_t run_id, int64_t item) = 0;
  virtual Result<std::vector<int64_t>> items_done(int64_t run_id) = 0;

  // The newest state of a run that keeps one (analysis.h), replacing the one before: it belongs to the time when `item` items
  // were whole. Absent: an empty optional. finish_run() drops it.
  struct KeptState { int64_t item = 0; std::vector<NamedArray> arrays; };
  virtual Status put_state(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) = 0;
  virtual Result<std::optional<KeptState>> state(int64_t run_id) = 0;

  // Stores the result (tensors of 64 KiB and more as files) and marks the run done, in one transaction.
  virtual Status finish_run(int64_t run_id, const AnalysisResult& result) = 0;
  virtual Result<AnalysisResult> result(int64_t run_id) = 0;

  // Features of a run's first feature set, without loading the others. kNotFound: the run holds none, or not this one.
  struct FeaturePage {
    FeatureSet head;                                       // the set's facts; no features, no token texts
    int64_t all = 0, total = 0;                            // features stored; how many fit, whatever the limit
    std::vector<FeatureRow> rows;
  };
  virtual Result<FeaturePage> search_features(int64_t run_id, const FeatureQuery& query) = 0;
  // The set's facts, this one feature, and the texts of its tokens.
  virtual Result<FeatureSet> feature(int64_t run_id, int64_t index) = 0;
  // A person's words; empty takes them away. They stay when the run is computed again.
  virtual Status set_feature_label(int64_t run_id, int64_t index, const std::string& label) = 0;

  // Context a report needs beside the result (prompts with tokens, model facts): JSON text under a name.
  virtual Status put_context(int64_t run_id, const std::string& name, const std::string& json) = 0;
  virtual Result<std::string> context(int64_t run_id, const std::string& name) = 0;   // "" when absent

  // Runs that are not in the trash, by id.
  virtual Result<std::vector<RunRecord>> runs() = 0;
  // By id or by unique prefix (4+ digits) of the key hash.
  virtual Result<RunRecord> find_run(const std::string& id_or_key) = 0;
  virtual Result<std::vector<AttemptRecord>> attempts(int64_t run_id) = 0;
  virtual Status set_note(int64_t run_id, const std::string& note) = 0;
  // A note on one artifact of a run; an empty text removes it.
  virtual Status set_artifact_note(int64_t run_id, const std::string& artifact, const std::string& note) = 0;
  virtual Result<std::map<std::string, std::string>> artifact_notes(int64_t run_id) = 0;   // artifact → note
  // To the trash and back. A run in the trash keeps all it has and is found by number and key; the same request again
  // (begin_run) takes it out.
  virtual Status set_deleted(int64_t run_id, bool deleted) = 0;
  virtual Result<std::vector<RunRecord>> trash() = 0;
  virtual Result<int64_t> empty_trash() = 0;             // removes for good; how many. Their tensors go with the next gc
  virtual Status delete_run(int64_t run_id) = 0;         // for good, at once
  struct GcReport { int64_t files_removed = 0; int64_t bytes_freed = 0; };
  virtual Result<GcReport> gc(bool dry_run) = 0;
};

}  // namespace microtome
