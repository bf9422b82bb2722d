// feature_tables.h — feature dashboards in the project's tables (resources/sql/004_features.sql); private to core/store.
// All inside the caller's transaction; errors are thrown.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/feature_set.h"
#include "core/store/feature_query.h"
#include "core/store/sql.h"

namespace microtome {

// A set made ready for the tables: what takes time and can fail, before the transaction begins.
struct PackedFeatures {
  struct Row {
    int64_t index = 0;
    std::string label, token, text;
    double density = 0, max = 0, mean = 0;
    std::vector<uint8_t> body;
    std::vector<std::string> tokens;
  };
  std::vector<Row> rows;
  std::vector<std::pair<int64_t, std::string>> vocabulary;
};
// Throws Error(kInternal) for features that are not ascending by index.
PackedFeatures pack_features(const FeatureSet& set, const std::string& where);

// Labels of a run's sets, (artifact name, feature) → label: they outlive the result they were given to.
using FeatureLabels = std::map<std::pair<std::string, int64_t>, std::string>;
FeatureLabels labels_of_run(Database& db, int64_t run_id);

void insert_features(Database& db, int64_t run_id, int64_t artifact, const std::string& artifact_name, const PackedFeatures& packed, const FeatureLabels& kept);
// Adds features and token texts to the set, whose facts are read already. index ≥ 0: only this one, with the texts it needs.
void load_features(Database& db, int64_t run_id, int64_t artifact, FeatureSet& set, const std::string& where, int64_t index = -1);
// Rows that fit, in order; total: how many fit without limit.
std::vector<FeatureRow> find_features(Database& db, int64_t run_id, int64_t artifact, const FeatureQuery& query, int64_t& total);

// Blanks at the ends off, ASCII letters small.
std::string plain_token(const std::string& token);

}  // namespace microtome
