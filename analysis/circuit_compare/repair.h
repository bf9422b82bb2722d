// repair.h — the repair experiment (Merullo et al., arXiv 2310.08744): heads are made to look where they should, and the
// answers are counted again.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "analysis/engine/metric.h"

namespace microtome::analyses {

struct RepairResult {
  at::Tensor metric, right;            // [setting, prompt]: settings are none, each head alone, all together; right: 0 or 1
  at::Tensor looks;                    // [head, prompt, place]: where each head looks from the last token of the clean prompt
};

// heads: (layer, head). attend_to: a label of the prompts' positions, or empty. places: labels that `looks` is read at.
// Throws Error(kBadInput) where a prompt lacks the label.
RepairResult repair(const AnalysisInput& input, const engine::PromptGroup& group, const std::string& metric,
                    const std::vector<std::pair<int64_t, int64_t>>& heads, const std::string& attend_to, const std::vector<std::string>& places);

}  // namespace microtome::analyses
