// propagate.h — an observable pulled back through the model: from the logits through the final norm (and MLPs) to the residual
// stream, and through each head's output and value matrices to what the head reads. Everything by derivative at the prompts' own
// values, so that output gates, norms by head and short convolutions are what they are there.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/engine/prompts.h"

namespace microtome::analyses {

class Propagation {
 public:
  // Throws Error(kUnsupported): the stream is normalised itself, or MLPs that read the token before where they are to be linear.
  Propagation(const AnalysisInput& input, bool frozen_norms, bool linear_mlps);

  // Layers whose heads have values, output and a pattern of one weight a source position; others are left NaN.
  bool fits(int64_t layer) const { return fits_[static_cast<size_t>(layer)]; }
  int64_t layers() const { return static_cast<int64_t>(fits_.size()); }
  int64_t heads() const { return heads_; }             // of the widest layer that fits
  std::string left_out() const;                        // a sentence on layers that do not fit; "": all do

  // All float64 on the CPU; NaN where a layer does not fit.
  struct Vectors {
    at::Tensor logits;                                 // [rows, d_model]: at the last residual
    at::Tensor readers;                                // [rows, layer, d_model]: at what each layer's heads write
    at::Tensor heads;                                  // [rows, layer, head, d_model]: at what each head reads, mean over source positions
  };
  // n: observables [rows, vocab], each gives one Vectors.
  std::vector<Vectors> vectors(const engine::PromptGroup& group, const std::vector<at::Tensor>& n) const;
  // targets [k, d_model] that layers below `below[i]` may write: through their heads, sum over the group's prompts of the mean over
  // positions. → [k, layer, head, d_model], NaN from below[i] on.
  at::Tensor second(const engine::PromptGroup& group, const at::Tensor& targets, const std::vector<int64_t>& below) const;

  // What a corrupted prompt changes: predicted = Σ_s A[last, s] y · (x'_s − x_s) with the clean pattern A and y [rows, layer, head, d_model]
  // (or [1, …]); measured: n · logits when the head's output at the last position is the corrupted one, other heads as in the clean run and
  // MLPs too, or run anew where they are linear. Both [layer, head, rows].
  struct Effects {
    at::Tensor predicted, measured;
  };
  Effects effects(const engine::PromptGroup& group, const at::Tensor& y, const at::Tensor& n) const;

 private:
  struct Run;                                          // a group's captured values, on the graph
  std::unique_ptr<Run> run(const engine::PromptGroup& group) const;
  // From what is wanted of a layer's output [rows, pos, d_model] to what its heads read [rows, head, d_model].
  at::Tensor through_heads(Run& r, int64_t layer, const at::Tensor& wanted, bool last_only) const;

  const AnalysisInput& input_;
  bool frozen_, linear_;
  std::vector<bool> fits_;
  int64_t heads_ = 0;
};

}  // namespace microtome::analyses
