// metric.h — one number a prompt from its logits (analyses.md, "Metrics"). Differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "analysis/engine/prompts.h"

namespace microtome::engine {

// The answers of one group as padded index tensors.
class Metric {
 public:
  // name: logit_diff, answer_logprob, kl, greater_than, loss; throws Error(kBadInput) listing them, or naming the line of
  // a prompt that lacks what the metric needs.
  Metric(const std::string& name, const AnalysisInput& input, const PromptGroup& group);

  // True: needs every position's logits (loss); else only the last position's.
  bool needs_all_positions() const { return name_ == "loss"; }
  bool needs_reference() const { return name_ == "kl"; }
  // Reference logits at the last position of the clean run [prompts, vocab] (kl).
  void set_reference(const at::Tensor& clean_last_logits);
  // logits [rows, vocab] at the last position; rows = copies × prompts, prompt index running fastest. → [rows], float64.
  at::Tensor last(const at::Tensor& logits) const;
  // Next-token cross entropy a position, nats: logits [rows, p, vocab] at positions first…, tokens [rows, length] whole
  // → [rows, p'] for those positions that have a next token.
  static at::Tensor token_losses(const at::Tensor& logits, const at::Tensor& tokens, int64_t first);

  const std::string& name() const { return name_; }
  static std::string unit(const std::string& name);     // "logits", "nats", "probability"

 private:
  std::string name_;
  at::Tensor answers_, answer_mask_, wrong_, wrong_mask_;   // [prompts, n]
  at::Tensor reference_logprobs_;
};

// Resolves "auto" to the task's own metric (logit_diff where none is named).
std::string metric_name(const AnalysisInput& input, const std::string& given);

// Whether each prompt of a group is answered right: its best answer has a higher logit than its best wrong answer; without
// wrong answers, than every other token. logits [prompts, vocab] at the last position → [prompts] float64 on the CPU, 1 or 0.
at::Tensor answered_right(const AnalysisInput& input, const PromptGroup& group, const at::Tensor& logits);

// KL(clean ‖ run) a row, nats, at one position: both [rows, vocab] logits. → [rows], float64
at::Tensor kl_divergence(const at::Tensor& clean_logits, const at::Tensor& run_logits);

}  // namespace microtome::engine
