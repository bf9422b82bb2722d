// circuits_data.h — what the searches and the evaluation of circuits share: the prompts as runners of cut edges, and the
// distance of a run from the whole model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analysis/circuit/edge_run.h"
#include "analysis/engine/prompts.h"

namespace microtome::circuit {

// Runners are made when first used; the input outlives this.
class CircuitPrompts {
 public:
  CircuitPrompts(const AnalysisInput& input, const Graph& graph, const std::string& metric, Outside outside, int64_t rows);
  // As AnalysisRun::set_batch: less than before halves the prompts that run together.
  void set_batch(int64_t rows);
  const std::vector<engine::PromptGroup>& groups() const { return groups_; }
  EdgeRunner& runner(size_t group);
  int64_t prompts() const { return prompts_; }
  // The metric of each circuit and prompt, in order of the dataset: inside [circuit, source, input] → [circuit, prompt].
  at::Tensor run(const at::Tensor& inside, int64_t from_layer);
  // How far each circuit is from the whole model: mean KL, or |mean metric - mean metric of the whole|. → [circuit]
  at::Tensor distance(const at::Tensor& inside, int64_t from_layer);
  at::Tensor clean();                                  // [prompt]
  int64_t circuits_at_once(int64_t from_layer);

 private:
  const AnalysisInput& input_;
  const Graph& graph_;
  std::string metric_;
  Outside outside_;
  at::Tensor means_;
  std::vector<engine::PromptGroup> groups_;
  std::vector<std::unique_ptr<EdgeRunner>> runners_;
  int64_t prompts_ = 0, rows_ = 64, batch_ = 0;
};

// A table of the strongest edges inside.
Table edge_table(const Graph& graph, const at::Tensor& scores, const at::Tensor& inside, const std::string& unit, const std::string& help);

}  // namespace microtome::circuit
