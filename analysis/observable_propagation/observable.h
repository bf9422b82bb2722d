// observable.h — a linear functional of the logits: n · logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "analysis/engine/prompts.h"

namespace microtome::analyses {

struct Observable {
  std::string name;                    // as it was given; "answer − wrong answers"
  at::Tensor shared;                   // [vocab] float64; undefined: each prompt its own
  // [prompts of the group, vocab] float64, on the CPU.
  at::Tensor of(const AnalysisInput& input, const engine::PromptGroup& group) const;
};

// "A|B>C|D": mean over A and B minus mean over C and D; nothing behind '>' or no '>' at all: the mean alone. Empty text: each prompt's
// answers minus its wrong answers. Throws Error(kBadInput): a text that is not one token, an id outside the vocabulary, a prompt
// without answers.
Observable parse_observable(const AnalysisInput& input, const std::string& text, const std::string& param);

}  // namespace microtome::analyses
