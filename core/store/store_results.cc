// The half of SqliteStore that keeps numbers: items, results with their arrays, context, and the removal of files that
// nothing refers to any more.
#include <set>

#include "core/base/quote.h"
#include "core/io/safetensors.h"
#include "core/store/artifact_codec.h"
#include "core/store/feature_tables.h"
#include "core/store/sqlite_store.h"

namespace microtome {

SqliteStore::Stored SqliteStore::store_arrays(const std::vector<NamedArray>& arrays) {
  Stored stored;
  stored.blob = arrays_to_bytes(arrays);
  if (stored.blob.size() >= kTensorFileBytes) {
    stored.file = tensors_.put(stored.blob);
    stored.blob.clear();
  }
  return stored;
}

void SqliteStore::bind_stored(Statement& s, const Stored& stored) {
  if (stored.file.empty()) {
    s.bind_blob(stored.blob).bind_null();
  } else {
    s.bind_null().bind(stored.file);
  }
}

std::vector<NamedArray> SqliteStore::load_arrays(const Statement& row, int blob_column,
                                                 const std::string& owner) const {
  if (!row.is_null(blob_column)) return arrays_from_bytes(row.blob(blob_column), path_ + ", " + owner).value();
  return tensors_.get(row.text(blob_column + 1), owner);
}

Status SqliteStore::put_item(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Stored stored = store_arrays(arrays);
    Transaction t(*db_, Transaction::Kind::kWrite);
    {
      Statement s(*db_, "INSERT OR REPLACE INTO items (run_id, item, blob, file) VALUES (?, ?, ?, ?)");
      s.bind(run_id).bind(item);
      bind_stored(s, stored);
      s.run();
    }
    Statement(*db_, "UPDATE runs SET state = 1 WHERE id = ? AND state <> 2 AND state <> 1").bind(run_id).run();
    t.commit();
  });
}

Result<std::optional<std::vector<NamedArray>>> SqliteStore::item(int64_t run_id, int64_t item) {
  return guarded([&]() -> std::optional<std::vector<NamedArray>> {
    require_run(run_id);
    Statement s(*db_, "SELECT blob, file FROM items WHERE run_id = ? AND item = ?");
    if (!s.bind(run_id).bind(item).step()) return std::nullopt;
    return load_arrays(s, 0, "run " + std::to_string(run_id) + ", item " + std::to_string(item));
  });
}

Result<std::vector<int64_t>> SqliteStore::items_done(int64_t run_id) {
  return guarded([&] {
    require_run(run_id);
    std::vector<int64_t> out;
    Statement s(*db_, "SELECT item FROM items WHERE run_id = ? ORDER BY item");
    s.bind(run_id);
    while (s.step()) out.push_back(s.integer(0));
    return out;
  });
}

Status SqliteStore::put_state(int64_t run_id, int64_t item, const std::vector<NamedArray>& arrays) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Stored stored = store_arrays(arrays);
    std::string before = state_file(run_id);
    Transaction t(*db_, Transaction::Kind::kWrite);
    {
      Statement s(*db_, "INSERT OR REPLACE INTO run_states (run_id, item, blob, file) VALUES (?, ?, ?, ?)");
      s.bind(run_id).bind(item);
      bind_stored(s, stored);
      s.run();
    }
    t.commit();
    if (before != stored.file) remove_unreferenced(before);
  });
}

Result<std::optional<ResultStore::KeptState>> SqliteStore::state(int64_t run_id) {
  return guarded([&]() -> std::optional<KeptState> {
    require_run(run_id);
    Statement s(*db_, "SELECT blob, file, item FROM run_states WHERE run_id = ?");
    if (!s.bind(run_id).step()) return std::nullopt;
    return KeptState{s.integer(2), load_arrays(s, 0, "run " + std::to_string(run_id) + ", its state")};
  });
}

std::string SqliteStore::state_file(int64_t run_id) {
  Statement s(*db_, "SELECT file FROM run_states WHERE run_id = ? AND file IS NOT NULL");
  return s.bind(run_id).step() ? s.text(0) : std::string();
}

// States are as large as what is trained, three times over: an old one is not left for gc().
void SqliteStore::remove_unreferenced(const std::string& file) {
  if (file.empty()) return;
  Statement s(*db_, "SELECT 1 FROM items WHERE file = ?1 UNION SELECT 1 FROM arrays WHERE file = ?1 UNION SELECT 1 FROM run_states WHERE file = ?1");
  if (s.bind(file).step()) return;
  for (const TensorFiles::Entry& e : tensors_.list())
    if (e.hash == file) tensors_.remove(e);
}

Status SqliteStore::finish_run(int64_t run_id, const AnalysisResult& result) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    const std::string where = path_ + ", run " + std::to_string(run_id);
    // Encoding and files come first: the transaction then holds only what can be undone, and is short.
    struct Encoded {
      std::string kind, name, body;
      std::vector<std::pair<std::string, Stored>> arrays;
      std::optional<PackedFeatures> features;
    };
    const std::string head = encode_head(result, where);
    std::vector<Encoded> encoded;
    for (const Artifact& a : result.artifacts) {
      Encoded e{artifact_kind(a), artifact_name(a), encode_artifact(a, where), {}, {}};
      if (const auto* map = std::get_if<TensorMap>(&a)) {
        for (const NamedArray& array : map->arrays) e.arrays.emplace_back(array.name, store_arrays({array}));
      }
      if (const auto* set = std::get_if<FeatureSet>(&a)) e.features = pack_features(*set, where);
      encoded.push_back(std::move(e));
    }

    Transaction t(*db_, Transaction::Kind::kWrite);
    const FeatureLabels labels = labels_of_run(*db_, run_id);
    Statement(*db_, "DELETE FROM results WHERE run_id = ?").bind(run_id).run();
    Statement(*db_, "INSERT INTO results (run_id, head) VALUES (?, ?)").bind(run_id).bind(head).run();
    for (size_t i = 0; i < encoded.size(); ++i) {
      const Encoded& e = encoded[i];
      Statement(*db_, "INSERT INTO artifacts (run_id, position, kind, name, body) VALUES (?, ?, ?, ?, ?)")
          .bind(run_id)
          .bind(static_cast<int64_t>(i))
          .bind(e.kind)
          .bind(e.name)
          .bind(e.body)
          .run();
      if (e.features) insert_features(*db_, run_id, static_cast<int64_t>(i), e.name, *e.features, labels);
      for (size_t k = 0; k < e.arrays.size(); ++k) {
        Statement s(*db_,
                    "INSERT INTO arrays (run_id, artifact, position, name, blob, file) VALUES (?, ?, ?, ?, ?, ?)");
        s.bind(run_id).bind(static_cast<int64_t>(i)).bind(static_cast<int64_t>(k)).bind(e.arrays[k].first);
        bind_stored(s, e.arrays[k].second);
        s.run();
      }
    }
    Statement(*db_, "UPDATE runs SET state = 2 WHERE id = ?").bind(run_id).run();
    const std::string state = state_file(run_id);
    Statement(*db_, "DELETE FROM run_states WHERE run_id = ?").bind(run_id).run();
    t.commit();
    remove_unreferenced(state);
  });
}

Result<AnalysisResult> SqliteStore::result(int64_t run_id) {
  return guarded([&] {
    // One view of the file for all the reads below, whatever a writer commits meanwhile.
    Transaction t(*db_, Transaction::Kind::kRead);
    require_run(run_id);
    const std::string run = "run " + std::to_string(run_id), where = path_ + ", " + run;
    AnalysisResult out;
    {
      Statement s(*db_, "SELECT head FROM results WHERE run_id = ?");
      if (!s.bind(run_id).step()) {
        throw Error(StatusCode::kNotFound, run + " has no result yet", path_, "run the analysis to its end");
      }
      out = decode_head(s.text(0), where);
    }
    Statement s(*db_, "SELECT position, kind, name, body FROM artifacts WHERE run_id = ? ORDER BY position");
    s.bind(run_id);
    while (s.step()) {
      std::vector<NamedArray> arrays;
      Statement a(*db_, "SELECT blob, file, name FROM arrays WHERE run_id = ? AND artifact = ? ORDER BY position");
      a.bind(run_id).bind(s.integer(0));
      while (a.step()) {
        std::vector<NamedArray> one = load_arrays(a, 0, run + ", array " + in_quotes(a.text(2)));
        if (one.size() != 1) {
          throw Error(StatusCode::kBadInput, "array " + in_quotes(a.text(2)) + " is not one array", where,
                      "restore the project file from a copy");
        }
        arrays.push_back(std::move(one[0]));
      }
      const std::string place = where + ", artifact " + in_quotes(s.text(2));
      out.artifacts.push_back(decode_artifact(s.text(1), s.text(3), std::move(arrays), place));
      if (auto* set = std::get_if<FeatureSet>(&out.artifacts.back())) load_features(*db_, run_id, s.integer(0), *set, place);
    }
    return out;
  });
}

Status SqliteStore::put_context(int64_t run_id, const std::string& name, const std::string& json) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Statement(*db_, "INSERT OR REPLACE INTO contexts (run_id, name, json) VALUES (?, ?, ?)")
        .bind(run_id)
        .bind(name)
        .bind(json)
        .run();
  });
}

Result<std::string> SqliteStore::context(int64_t run_id, const std::string& name) {
  return guarded([&] {
    require_run(run_id);
    Statement s(*db_, "SELECT json FROM contexts WHERE run_id = ? AND name = ?");
    return s.bind(run_id).bind(name).step() ? s.text(0) : std::string();
  });
}

Result<ResultStore::GcReport> SqliteStore::gc(bool dry_run) {
  return guarded([&] {
    if (!dry_run) require_writer();
    std::set<std::string> referenced;
    Statement s(*db_,
                "SELECT file FROM items WHERE file IS NOT NULL UNION SELECT file FROM arrays WHERE file IS NOT NULL "
                "UNION SELECT file FROM run_states WHERE file IS NOT NULL");
    while (s.step()) referenced.insert(s.text(0));
    GcReport report;
    for (const TensorFiles::Entry& e : tensors_.list()) {
      if (!e.hash.empty() && referenced.count(e.hash) != 0) continue;
      if (!dry_run) tensors_.remove(e);
      ++report.files_removed;
      report.bytes_freed += e.bytes;
    }
    return report;
  });
}

}  // namespace microtome
