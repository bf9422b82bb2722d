// summary.h — what the prompts of a transcoder circuit have in common: features by what they add to the metric, paths by place
// (counted from the prompt's end), input-invariant connections between the features that matter, and the whole as a circuit of
// MLPs and heads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/transcoder_circuit/paths.h"

namespace microtome::analyses {

// What an item keeps of its prompt: "effects" [feature, 5] (layer, feature, position from the end, activation, part of the
// metric), "parts" [3] (tokens, features, errors), "metric", "paths" [path, node, 4], "flows" [path].
std::vector<NamedArray> numbers_of(const feature_circuit::FrozenModel& frozen, const at::Tensor& direction, const std::vector<FeaturePath>& paths);

class CircuitSummary {
 public:
  CircuitSummary(const AnalysisInput& input, const feature_circuit::TranscoderLayers& transcoders, const std::vector<std::vector<NamedArray>>& items, int64_t prompts);
  // frozen: of any prompt (its mixers' matrices are read). features: how many are shown.
  AnalysisResult result(const feature_circuit::FrozenModel& frozen, int64_t features, const std::vector<std::vector<bool>>& heads) const;

 private:
  struct Feature { double effect = 0, activation = 0; int64_t active = 0, prompts = 0; };
  using Key = std::pair<int64_t, int64_t>;                         // layer, feature
  struct Shared { double flow = 0; int64_t prompts = 0; };

  std::string node_text(const PathNode& n) const;                  // positions from the end: -1 is the last
  std::vector<std::pair<Key, Feature>> strongest(int64_t count) const;
  std::string raises(const Key& key) const;                        // tokens, strongest first
  std::string fires_on(const Key& key) const;                      // de-embedding: tokens whose embedding the encoder reads most
  Table feature_table(const std::vector<std::pair<Key, Feature>>& top) const;
  Table connection_table(const feature_circuit::FrozenModel& frozen, const std::vector<std::pair<Key, Feature>>& top, const std::vector<std::vector<bool>>& heads) const;
  Circuit circuit() const;

  AnalysisInput input_;
  const feature_circuit::TranscoderLayers& transcoders_;
  int64_t prompts_ = 0;
  std::map<Key, Feature> features_;
  std::map<std::vector<PathNode>, Shared> paths_;
  std::vector<double> metric_, tokens_, in_features_, errors_;     // a prompt
};

}  // namespace microtome::analyses
