// edge_run.h — the model with some of its edges cut: what a cut edge carries is replaced by what it carries in the corrupted
// run (or by zero, or by its mean), everything else follows from that (arXiv 2304.14997, 2504.13151).
//
//   x_d = stream + sum over cut edges s -> d of (outside_s - z_s)      z_s: what s writes in this run
//
// Many circuits run as one batch. Tokens before the first one that differs are run once and kept; a run may begin at a
// later layer where nothing before it is cut; inputs of nodes that lead nowhere are left as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/circuit/graph.h"
#include "analysis/engine/metric.h"

namespace microtome::circuit {

enum class Outside { kCorrupted, kZero, kMean };
Outside parse_outside(const std::string& name);        // "corrupted", "zero", "mean"

// Mean over prompts and positions of what each source writes on the clean prompts: [source, d_model] (Outside::kMean).
at::Tensor mean_sources(const Graph& graph, const AnalysisInput& input);

// Of one group of prompts. Graph and input outlive it. Used by one thread at a time.
class EdgeRunner {
 public:
  // means: of mean_sources, for kMean only. Throws Error(kBadInput) for the metric 'loss', which reads every position.
  EdgeRunner(const Graph& graph, const AnalysisInput& input, const engine::PromptGroup& group, const std::string& metric,
             Outside outside, const at::Tensor& means = {});
  ~EdgeRunner();

  // The metric of each circuit: inside [circuit, source, input] bool → [circuit, prompt] float64, both on the CPU.
  // from_layer: nothing that reads before it is cut in any of them.
  at::Tensor run(const at::Tensor& inside, int64_t from_layer = 0);
  // The same for one circuit whose edges are weights between 0 (cut) and 1: inside [source, input] on the model's device,
  // differentiable. → logits of the last position [prompt, vocab]
  at::Tensor run_soft(const at::Tensor& inside);
  // The metric of logits as run_soft gives them [rows, vocab] → [rows].
  at::Tensor measure(const at::Tensor& logits) const;

  const at::Tensor& clean() const;                     // [prompt] float64, CPU: the metric of the whole model
  const at::Tensor& clean_logits() const;              // [prompt, vocab]
  int64_t prompts() const;
  int64_t circuits_at_once(int64_t from_layer) const;  // that fit the memory one batch may take
  // Whether the latest runs were started as a CUDA graph: of small models the fourth and later ones of equally many circuits, at
  // most 8, from the same layer on, unless that proves no quicker. A sentence where it was tried in vain.
  bool recorded() const;
  const std::string& why_not_recorded() const;
  void record(bool records);                           // false: never

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::circuit
