// features.h — which features an analysis acts on, and where: as a person writes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/engine/prompts.h"
#include "core/dictionary/dictionary.h"

namespace microtome::analyses {

struct FeatureRef {
  size_t member = 0;
  int64_t feature = 0;
  bool operator==(const FeatureRef&) const = default;
};

// "12,845", in a set of several "3/12" (layer/feature). Throws Error(kBadInput) naming the range, or a feature that is there twice.
std::vector<FeatureRef> parse_features(const DictionarySet& set, const std::string& text);
std::string feature_name(const DictionarySet& set, const FeatureRef& f);   // as parse_features reads it

// 1 where a group's prompts are changed, else 0: [prompts, length] float64 on the CPU. text: "all", "last", indices, or a label of
// positions, which every prompt must have. Throws Error(kBadInput).
at::Tensor position_mask(const AnalysisInput& input, const engine::PromptGroup& group, const std::string& text);

}  // namespace microtome::analyses
