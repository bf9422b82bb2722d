// prompts.h — a dataset as tensors: prompts of one length run together and nothing is ever padded (padding on the left
// would write into recurrent states). Position axes of results are aligned at the end.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace microtome::engine {

struct PromptGroup {
  int64_t length = 0;
  std::vector<int64_t> prompts;        // indices into dataset.pairs
  at::Tensor clean, corrupted;         // [prompts, length] int64 on the model's device; corrupted undefined without pairs
  int64_t first_difference = 0;        // first position where any prompt's clean and corrupted ids differ; length: none
};

// Groups in order of length; within a group in order of the dataset, at most max_rows prompts each (0: no limit).
std::vector<PromptGroup> group_prompts(const AnalysisInput& input, bool need_corrupted, int64_t max_rows = 0);
// `count` prompts of a group from the `from`th on.
PromptGroup part_of(const PromptGroup& group, int64_t from, int64_t count);
int64_t longest(const std::vector<PromptGroup>& groups);
// Checks that the dataset holds what the analysis needs; throws Error(kBadInput) naming the line.
void require_prompts(const AnalysisInput& input, const AnalysisInfo& info, bool need_answers);

// A label a column for a position axis of `width` aligned at the end: the tokens of the first prompt of that length where
// all prompts agree, else "-3".
std::vector<std::string> position_labels(const AnalysisInput& input, const std::vector<PromptGroup>& groups);
// Token texts of ids as a person should see them.
std::vector<std::string> token_texts(const Tokenizer* tokenizer, const std::vector<int64_t>& ids);
std::vector<std::string> number_labels(const std::string& prefix, int64_t n);   // "L0", "L1" …

}  // namespace microtome::engine
