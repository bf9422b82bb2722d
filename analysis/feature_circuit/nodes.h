// nodes.h — the nodes of an attribution graph by number, in circuit-tracer's order: active features by (layer, position,
// feature), errors by (layer, position), tokens, logits. A row of the adjacency holds only what can reach its target: sources
// of earlier layers, in a causal model at no later position. Free of LibTorch.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace microtome::feature_circuit {

struct ActiveFeature {
  int64_t layer = 0, position = 0, feature = 0;
  float activation = 0;
};

class NodeIndex {
 public:
  // features: sorted by (layer, position, feature). positions: tokens of the prompt.
  NodeIndex(int64_t layers, int64_t positions, std::vector<ActiveFeature> features, int64_t logits, bool causal = true);

  int64_t layers() const { return layers_; }
  int64_t positions() const { return positions_; }
  int64_t feature_count() const { return static_cast<int64_t>(features_.size()); }
  int64_t logit_count() const { return logits_; }
  int64_t error(int64_t layer, int64_t position) const { return feature_count() + layer * positions_ + position; }
  int64_t token(int64_t position) const { return feature_count() + layers_ * positions_ + position; }
  int64_t logit(int64_t i) const { return feature_count() + (layers_ + 1) * positions_ + i; }
  int64_t size() const { return logit(logits_); }

  const std::vector<ActiveFeature>& features() const { return features_; }
  const ActiveFeature& feature(int64_t node) const { return features_[static_cast<size_t>(node)]; }
  bool is_feature(int64_t node) const { return node < feature_count(); }
  bool is_error(int64_t node) const { return node >= feature_count() && node < token(0); }
  bool is_token(int64_t node) const { return node >= token(0) && node < logit(0); }
  bool is_logit(int64_t node) const { return node >= logit(0); }
  // Of a feature or an error: its layer; a token: -1; a logit: layers().
  int64_t layer_of(int64_t node) const;
  int64_t position_of(int64_t node) const;   // logits: the last
  // Features of a layer at positions below `below`: a run of nodes.
  std::pair<int64_t, int64_t> features_of(int64_t layer, int64_t below) const;   // first, count

  // The nodes that the row of a target may reach, ascending, as runs (first node, count); and how many they are.
  std::vector<std::pair<int64_t, int64_t>> runs(int64_t target) const;
  int64_t row_length(int64_t target) const;

 private:
  int64_t layers_ = 0, positions_ = 0, logits_ = 0;
  bool causal_ = true;
  std::vector<ActiveFeature> features_;
  std::vector<int64_t> begin_;               // [layer * (positions + 1) + position]: first feature at or after (layer, position)
};

}  // namespace microtome::feature_circuit
