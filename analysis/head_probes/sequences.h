// sequences.h — the token sequences that heads are probed with: a start token, random tokens, the same tokens again.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace microtome::analyses::head_probes {

struct Sequences {
  at::Tensor tokens;  // [sequence, 1 + times * n] int64 on the model's device
  int64_t n = 0, times = 2;
  std::vector<std::string> warnings;
};

// Sequence i is drawn with item_seed(seed, first_item + i), so it does not depend on how many there are. Ids are
// uniform over [1, vocabulary) without special tokens, none twice in a half where the vocabulary allows.
Sequences draw(const AnalysisInput& input, int64_t count, int64_t n, int64_t times, uint64_t first_item);
// The dataset's clean ids as they are; throws Error(kBadInput) naming the line that is not start + n tokens + the same.
Sequences from_dataset(const AnalysisInput& input);
// Whether positions up to `length` exist in the model.
bool fits(const Model& model, int64_t length);

}  // namespace microtome::analyses::head_probes
