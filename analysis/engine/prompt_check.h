// prompt_check.h — whether a model does the task at all and whether the metric tells clean prompts from corrupted ones, found
// on a few prompts before an analysis spends its time: everything that a patch or a circuit "brings back" is a share of that
// difference.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace microtome::engine {

struct PromptCheck {
  std::string metric;                  // logit_diff … of the numbers below
  int64_t prompts = 0;                 // looked at: spread evenly over the dataset
  std::vector<double> clean, corrupted;   // the metric a prompt; corrupted is empty without pairs
  // Share of clean prompts whose best answer has a higher logit than the best wrong one (without wrong ones: than any other
  // token); NaN where prompts have no answer. chance: the share that a model that knows nothing would have.
  double accuracy = 0, chance = 0;
  // Chance that a clean prompt's metric is above a corrupted one's (the area under the ROC curve); NaN without pairs.
  double separation = 0;
};

// Two forward passes over at most `most` prompts. metric: of an analysis ("auto" takes the task's own, "kl" and "loss" are
// checked by the task's own metric). Nothing is looked at where prompts lack answers. Throws Error(kFailed) where the metric
// is not a number, naming the prompt.
PromptCheck check_prompts(const AnalysisInput& input, const std::string& metric, int64_t most = 32);
// One sentence each for a task that the model fails and a metric that does not separate; empty: all is well.
std::vector<std::string> check_warnings(const PromptCheck& check);
// The metric's distribution over clean and over corrupted prompts.
Table check_table(const PromptCheck& check);

}  // namespace microtome::engine
