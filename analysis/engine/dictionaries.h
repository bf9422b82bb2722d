// dictionaries.h — what analyses of dictionaries share: the dictionary that a parameter names, checked against the model, and the
// text it is judged on.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/dictionary/dictionary.h"

namespace microtome::engine {

// What the file or folder that `param` names holds, as it stands there. Throws Error(kBadInput): none named, or it holds none.
DictionarySet read_named(const AnalysisInput& input, const std::string& param);
// The same in the order of their layers, checked against the model. Where the analysis has parameters `hook` and
// `hook_out` they say the points of a single one that does not name them. Throws Error(kBadInput): none named,
// points that the model does not have or of another width.
// warnings: a dictionary that was trained on other weights.
std::shared_ptr<const DictionarySet> read_set(const AnalysisInput& input, const std::string& param, std::vector<std::string>& warnings);
// "sae on blocks.1.hook_resid_post", "layer 3" in a set: what a person calls a member.
std::string member_name(const DictionarySet& set, size_t member);

// Sequences of the parameter `corpus`, as many tokens as `tokens` allows, `length` ids each; the dataset's clean prompts where it is
// empty. Throws Error(kBadInput) where there is neither, or where an id is outside the vocabulary.
std::vector<std::vector<int64_t>> read_text(const AnalysisInput& input);
// Sequences of one length that run together, about `tokens` tokens (at least one sequence); short ones first, else in order.
struct TextChunk {
  std::vector<int64_t> rows;           // indices into the sequences
  at::Tensor tokens;                   // [rows, length] int64 on the device
};
std::vector<TextChunk> chunk_text(const std::vector<std::vector<int64_t>>& sequences, int64_t tokens, c10::Device device);

}  // namespace microtome::engine
