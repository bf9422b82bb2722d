// build.h — the graph of one prompt while it is made: the replacement model, the rows so far, which rows come next.
#pragma once

#include <memory>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/feature_circuit/frozen_model.h"
#include "analysis/feature_circuit/influence.h"

namespace microtome::analyses {

constexpr int64_t kRowsPerItem = 512;          // and between two rankings of what comes next

struct GraphOptions {
  feature_circuit::FrozenOptions frozen;
  feature_circuit::PruneOptions prune;
  int64_t max_features = 0;
};

class GraphBuild {
 public:
  GraphBuild(const Model& model, const std::vector<int64_t>& tokens, const feature_circuit::TranscoderLayers& transcoders, const GraphOptions& options);

  const feature_circuit::FrozenModel& frozen() const { return *frozen_; }
  const feature_circuit::NodeIndex& nodes() const { return frozen_->nodes(); }
  const feature_circuit::RowStore& rows() const { return *rows_; }
  int64_t feature_rows() const { return std::min(options_.max_features, nodes().feature_count()); }
  bool ranked() const { return options_.max_features < nodes().feature_count(); }

  // Targets of block 0 (the logits), 1, 2 …: with more active features than max_features, those that by the rows so far
  // have most influence (circuit-tracer, Phase 4), else all of them in order. Empty behind the last.
  std::vector<int64_t> block(int64_t number) const;
  // Computes the rows of targets and adds them; returns their numbers one after the other. batch: targets that run together.
  std::vector<float> compute(const std::vector<int64_t>& targets, int64_t batch, Progress& progress);
  void add(const std::vector<int64_t>& targets, const std::vector<float>& values);

  // Of the graph with all its rows; computed once.
  struct Outcome {
    std::vector<char> selected;                // features that have a row, errors, tokens, logits
    feature_circuit::Influence influence;
    feature_circuit::GraphScores scores;
    feature_circuit::Pruned pruned;
  };
  const Outcome& outcome();

 private:
  GraphOptions options_;
  std::unique_ptr<feature_circuit::FrozenModel> frozen_;
  std::unique_ptr<feature_circuit::RowStore> rows_;
  std::unique_ptr<Outcome> outcome_;
};

}  // namespace microtome::analyses
