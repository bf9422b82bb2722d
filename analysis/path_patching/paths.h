// paths.h — the two runs of path patching (arXiv 2211.00593, 2304.05969): what a receiver would read if only the path from
// one sender to it were corrupted, and what the model says when the receiver reads just that.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "analysis/engine/metric.h"
#include "analysis/engine/node_names.h"

namespace microtome::analyses {

// One receiver, or several that are changed together.
struct Receiver {
  std::string label;
  std::vector<engine::NodeName> nodes;
};

class PathRunner {
 public:
  // metric: as Metric takes it. Throws Error(kBadInput) for a node that cannot receive.
  PathRunner(const AnalysisInput& input, std::vector<Receiver> receivers, bool freeze_mlps, const std::string& metric);
  ~PathRunner();

  int64_t heads(int64_t layer) const;                  // senders of a layer beside its MLP; 0: its heads do not split
  int64_t most_heads() const { return most_heads_; }   // the column of the MLP in run_layer's result
  int64_t prompts() const { return prompt_count_; }
  // The metric a path leaves: [receiver, sender, prompt] float64, senders are the layer's heads and, last, its MLP; NaN
  // where there is no such sender or no path. Prompts run together that have one length; rows of a batch are senders ×
  // prompts.
  at::Tensor run_layer(int64_t layer, int64_t batch_rows, Progress& progress);
  // [prompt] float64 of the unchanged runs.
  at::Tensor clean_metric() { return ends(true); }
  at::Tensor corrupted_metric() { return ends(false); }

 private:
  struct Base;
  const Base& base(size_t group);
  at::Tensor ends(bool clean);
  bool reaches(int64_t layer, int64_t head, const engine::NodeName& to) const;
  bool reaches(int64_t layer, int64_t head, const Receiver& to) const;
  at::Tensor measure(size_t group, const at::Tensor& logits, int64_t first);
  void run_group(size_t group, int64_t layer, int64_t batch_rows, at::Tensor& out, const std::function<void(int64_t)>& done);
  // Pass 1: rows of `senders` with everything but the path as in the clean run. → what each node reads, and logits.
  std::map<std::string, at::Tensor> send(size_t group, int64_t layer, const std::vector<int64_t>& senders,
                                         const at::Tensor& z, const at::Tensor& mlp, at::Tensor& logits);
  // Pass 2: the clean run with the receiver's inputs replaced; logits.
  at::Tensor receive(size_t group, int64_t layer, const Receiver& to, const std::map<std::string, at::Tensor>& read,
                     const at::Tensor& rows);

  AnalysisInput input_;
  std::vector<Receiver> receivers_;
  bool freeze_mlps_, all_logits_ = false;
  std::vector<engine::PromptGroup> groups_;
  std::vector<std::unique_ptr<engine::Metric>> metrics_;
  std::vector<std::unique_ptr<Base>> bases_;
  int64_t layers_ = 0, most_heads_ = 0, prompt_count_ = 0;
};

}  // namespace microtome::analyses
