// The shelf side of the store: lists of runs, notes, the trash.
#include "core/store/sqlite_store.h"

namespace microtome {

Result<std::vector<RunRecord>> SqliteStore::runs() {
  return guarded([&] { return runs_where("deleted = ''"); });
}

Result<std::vector<RunRecord>> SqliteStore::trash() {
  return guarded([&] { return runs_where("deleted <> ''"); });
}

Status SqliteStore::set_deleted(int64_t run_id, bool deleted) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Statement(*db_, deleted ? "UPDATE runs SET deleted = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ?"
                            : "UPDATE runs SET deleted = '' WHERE id = ?")
        .bind(run_id)
        .run();
  });
}

Result<int64_t> SqliteStore::empty_trash() {
  return guarded([&] {
    require_writer();
    Statement(*db_, "DELETE FROM runs WHERE deleted <> ''").run();
    return db_->changes();
  });
}

Status SqliteStore::set_artifact_note(int64_t run_id, const std::string& artifact, const std::string& note) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    if (note.empty())
      Statement(*db_, "DELETE FROM artifact_notes WHERE run_id = ? AND artifact = ?").bind(run_id).bind(artifact).run();
    else
      Statement(*db_, "INSERT INTO artifact_notes (run_id, artifact, note) VALUES (?, ?, ?) "
                      "ON CONFLICT (run_id, artifact) DO UPDATE SET note = excluded.note")
          .bind(run_id)
          .bind(artifact)
          .bind(note)
          .run();
  });
}

Result<std::map<std::string, std::string>> SqliteStore::artifact_notes(int64_t run_id) {
  return guarded([&] {
    require_run(run_id);
    std::map<std::string, std::string> out;
    Statement s(*db_, "SELECT artifact, note FROM artifact_notes WHERE run_id = ?");
    s.bind(run_id);
    while (s.step()) out[s.text(0)] = s.text(1);
    return out;
  });
}

Status SqliteStore::set_note(int64_t run_id, const std::string& note) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Statement(*db_, "UPDATE runs SET note = ? WHERE id = ?").bind(note).bind(run_id).run();
  });
}

Status SqliteStore::delete_run(int64_t run_id) {
  return guarded_status([&] {
    require_writer();
    require_run(run_id);
    Statement(*db_, "DELETE FROM runs WHERE id = ?").bind(run_id).run();
  });
}

}  // namespace microtome
