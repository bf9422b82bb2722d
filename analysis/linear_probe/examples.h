// examples.h — what a probe learns from: which prompts, read where, with which label; the folds; and the control task's labels.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/engine/prompts.h"

namespace microtome::analyses {

struct Example {
  int64_t prompt = 0;                  // index into the dataset
  bool corrupted = false;              // read from the corrupted prompt
  int64_t position = 0;                // -1: mean over all positions
};

struct ExampleSet {
  std::vector<Example> examples;
  std::vector<std::string> classes;    // empty: numbers
  at::Tensor y;                        // [n] int64 classes, or float64 numbers
  at::Tensor fold;                     // [n] int64
  int64_t folds = 0;
  // Control task (Hewitt and Liang, arXiv 1909.03368): every type has one label, dealt out at random, each as often as in y. A type is the token at
  // the probed position, or the whole prompt where that token tells too little apart.
  at::Tensor control;
  std::string type;                    // "token at the position" or "prompt"
  std::string what;                    // what the probe should tell: "whether the prompt is corrupted", "order"
  std::vector<std::string> warnings;
};

// Throws Error(kBadInput) naming the line: a label, position or answer that is not there, numbers that are none, one class only.
ExampleSet make_examples(const AnalysisInput& input);

}  // namespace microtome::analyses
