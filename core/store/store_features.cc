// The part of SqliteStore that finds and labels features without loading all of them.
#include "core/base/quote.h"
#include "core/store/artifact_codec.h"
#include "core/store/feature_tables.h"
#include "core/store/sqlite_store.h"

namespace microtome {

std::pair<int64_t, FeatureSet> SqliteStore::feature_head(int64_t run_id) {
  require_run(run_id);
  const std::string run = "run " + std::to_string(run_id);
  Statement s(*db_, "SELECT position, body FROM artifacts WHERE run_id = ? AND kind = 'features' ORDER BY position LIMIT 1");
  if (!s.bind(run_id).step()) throw Error(StatusCode::kNotFound, run + " holds no features", path_, "`microtome run features` makes them");
  return {s.integer(0), std::get<FeatureSet>(decode_artifact("features", s.text(1), {}, path_ + ", " + run))};
}

Result<ResultStore::FeaturePage> SqliteStore::search_features(int64_t run_id, const FeatureQuery& query) {
  return guarded([&] {
    Transaction t(*db_, Transaction::Kind::kRead);
    auto [artifact, head] = feature_head(run_id);
    FeaturePage page;
    page.head = std::move(head);
    {
      Statement all(*db_, "SELECT count(*) FROM features WHERE run_id = ? AND artifact = ?");
      all.bind(run_id).bind(artifact).step();
      page.all = all.integer(0);
    }
    page.rows = find_features(*db_, run_id, artifact, query, page.total);
    return page;
  });
}

Result<FeatureSet> SqliteStore::feature(int64_t run_id, int64_t index) {
  return guarded([&] {
    Transaction t(*db_, Transaction::Kind::kRead);
    auto [artifact, set] = feature_head(run_id);
    if (index >= 0) load_features(*db_, run_id, artifact, set, path_ + ", run " + std::to_string(run_id) + ", feature " + std::to_string(index), index);
    if (set.features.empty())
      throw Error(StatusCode::kNotFound, "run " + std::to_string(run_id) + " has no feature " + std::to_string(index), path_,
                  "the dictionary has " + std::to_string(set.d_sae) + " features, and the run's parameter `features` says which were looked at");
    return set;
  });
}

Status SqliteStore::set_feature_label(int64_t run_id, int64_t index, const std::string& label) {
  return guarded_status([&] {
    require_writer();
    const int64_t artifact = feature_head(run_id).first;
    Statement(*db_, "UPDATE features SET label = ? WHERE run_id = ? AND artifact = ? AND feature = ?").bind(label).bind(run_id).bind(artifact).bind(index).run();
    if (db_->changes() == 0) throw Error(StatusCode::kNotFound, "run " + std::to_string(run_id) + " has no feature " + std::to_string(index), path_, "`microtome features` lists them");
  });
}

}  // namespace microtome
