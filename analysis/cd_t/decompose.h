// decompose.h — contextual decomposition for transformers (arXiv 2407.00886) with two runs: every activation's relevant part
// is its value in the whole run minus its value in a run where the source's relevant part was taken away and what the
// decomposition holds constant (patterns, norms' divisors, output gates) stays as in the whole run.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "analysis/engine/metric.h"

namespace microtome::analyses {

// Sources of a layer: its heads, and last, its MLP. kInput in place of a layer: the first layer's residual, one source.
class Decomposition {
 public:
  enum class Baseline { kMean, kCorrupted };
  static constexpr int64_t kInput = -1;

  Decomposition(const AnalysisInput& input, Baseline baseline, const std::string& metric);

  int64_t layers() const { return layers_; }
  int64_t heads(int64_t layer) const;                  // that have a z; 0: the layer does not split into heads
  int64_t most_heads() const { return most_heads_; }
  bool has_mlp(int64_t layer) const;
  int64_t prompts() const { return prompt_count_; }
  // Whether the layer's mixing is held constant: it has a pattern to freeze.
  bool freezes(int64_t layer) const;

  struct Relevance {
    at::Tensor logits;                 // [source, prompt] float64: metric of the whole run minus without the relevant part
    at::Tensor heads;                  // [source, layer, head]: |relevant part of z| / |z| over all positions, mean over prompts
    at::Tensor whole;                  // [prompt] float64: the metric of the whole run
  };
  // NaN where there is no such source or target. layer: 0…, or kInput (one source).
  Relevance run(int64_t layer, int64_t batch_rows, Progress& progress);

 private:
  struct Whole;                        // one group's whole run
  Whole whole_run(size_t group) const;
  // The value without its relevant part, [1 or prompts, 1 or pos, …] at a layer's points.
  at::Tensor mean_of(const std::string& point, Progress& progress) const;
  at::Tensor corrupted_of(size_t group, const std::string& point) const;
  void freeze(HookPlan& plan, const Whole& whole, int64_t from, int64_t copies) const;
  at::Tensor measure(size_t group, const at::Tensor& logits) const;

  AnalysisInput input_;
  Baseline baseline_;
  bool all_logits_ = false;
  std::vector<engine::PromptGroup> groups_;
  std::vector<std::unique_ptr<engine::Metric>> metrics_;
  std::vector<std::string> scales_;                    // norms' divisors behind a layer's entry: "ln2.hook_scale" …
  int64_t layers_ = 0, most_heads_ = 0, prompt_count_ = 0;
};

}  // namespace microtome::analyses
