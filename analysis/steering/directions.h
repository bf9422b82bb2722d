// directions.h — the directions that steering adds or takes away: from clean and corrupted prompts, from a file, from a
// dictionary's feature, or from the unembedding; and the change itself at a point.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/engine/prompts.h"
#include "core/dictionary/dictionary.h"

namespace microtome::analyses {

// What is changed at one hook point.
struct SteeredPoint {
  std::string hook;
  at::Tensor direction;                // [1 or prompts, …]: the point's axes behind pos; float64, on the CPU
  double norm = 0;                     // of the direction before scaling, mean over its rows
  double mean_norm = 0;                // of the point's values, mean over clean prompts and positions
};

struct DirectionOptions {
  enum class From { kMeanDifference, kFile, kUnembedding, kFeature };
  From from = From::kMeanDifference;
  std::string file, tensor;            // safetensors; "NAME", a row of a matrix "NAME[12]", empty: the only tensor
  bool all_positions = false;          // kMeanDifference: over every position rather than the last
  bool to_mean_norm = false;           // scaled to the mean norm of the point's values
  std::shared_ptr<const Dictionary> dictionary;        // kFeature: the decoder row of `feature` is the direction
  int64_t feature = 0;
  bool to_max_activation = false;      // kFeature: times the feature's largest activation on the clean prompts
};

// The points that a glob selects, with axes batch, pos, …; throws Error(kBadInput) for others (a pattern has no direction).
std::vector<std::string> steered_points(const Model& model, const std::string& glob);
// The dictionary of the parameter `dictionary` that gives `hook`, and for an empty hook the only one there; throws Error(kBadInput).
std::shared_ptr<const Dictionary> read_dictionary(const AnalysisInput& input, const std::string& hook, int64_t feature, std::vector<std::string>& warnings);
// Throws Error(kBadInput): a direction of another size than the point, one that is zero or not finite.
std::vector<SteeredPoint> find_directions(const AnalysisInput& input, const std::vector<engine::PromptGroup>& groups,
                                          const std::vector<std::string>& hooks, const DirectionOptions& options, Progress& progress);
// Adds coefficient × direction, or takes away coefficient × the part along it, at absolute positions from `start` on.
// direction [1 or rows, …] as in SteeredPoint.
Edit steer(const at::Tensor& direction, double coefficient, bool project_out, int64_t start);

}  // namespace microtome::analyses
