// paths.h — greedy paths through a prompt's replacement model (Dunefsky, Chlenski and Nanda, arXiv 2406.11944): from the metric
// back through transcoder features and attention heads to token embeddings, always along the strongest contributions.
#pragma once

#include <ATen/core/Tensor.h>

#include <compare>
#include <string>
#include <vector>

#include "analysis/feature_circuit/frozen_model.h"

namespace microtome::analyses {

struct PathNode {
  enum class Kind { kMetric, kFeature, kHead, kToken, kError };
  Kind kind = Kind::kMetric;
  int64_t layer = -1, index = -1;            // index: feature or head
  int64_t position = 0;                      // heads: the position whose values are read
  bool operator==(const PathNode&) const = default;
  auto operator<=>(const PathNode&) const = default;
};

// What one source adds to a target, in the target's unit.
struct Contribution {
  PathNode from;
  double value = 0;
  at::Tensor reading;                        // heads: the direction it reads at its position of hook_resid_pre
  int64_t feature_node = -1;
};

struct FeaturePath {
  std::vector<PathNode> nodes;               // from where it begins to the metric
  double flow = 0;                           // of the metric: contribution to the last times each further contribution's share of the feature's activation
};

// Contributions to a target that reads `direction` [d] of the stream at a position: behind the attention of `layer` (layers():
// behind all), or with before_attention in front of it. heads: a flag [layer][head], which heads may be passed.
std::vector<Contribution> contributions(const feature_circuit::FrozenModel& frozen, int64_t layer, bool before_attention, int64_t position,
                                        const at::Tensor& direction, const std::vector<std::vector<bool>>& heads);

struct PathOptions { int64_t depth = 4, beam = 24, branches = 8; };
// direction [d]: of the metric, read at unembed.hook_in of the last position. Strongest first.
std::vector<FeaturePath> greedy_paths(const feature_circuit::FrozenModel& frozen, const at::Tensor& direction, const PathOptions& options,
                                      const std::vector<std::vector<bool>>& heads);

}  // namespace microtome::analyses
