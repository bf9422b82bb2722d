// prompt_check.h — a pair of prompts as one tokenizer has it: the chips of both, and in one sentence what stops a run. Pure
// and fast: for texts of a few thousand characters the GUI thread may call it, longer ones belong into a job.
#pragma once

#include <QString>
#include <vector>

#include "app/desktop/views/token_strip.h"
#include "core/io/tokenizer.h"
#include "core/tasks/task.h"

namespace microtome::desktop {

enum class PromptField { kNone, kClean, kCorrupted, kAnswer, kWrong };

struct CheckedPrompt {
  PromptPair pair;                     // ids filled as far as they are known
  std::vector<TokenChip> clean, corrupted;   // at most kMostChips; what differs is marked, positions carry their labels as notes
  PromptField fault = PromptField::kNone;
  QString problem;                     // empty: fine
};

constexpr size_t kMostChips = 2000;

// Ids that the pair has hold; texts without are tokenised. tokenizer null: chips show ids ("#17"), texts can't be cut.
CheckedPrompt checkPrompt(PromptPair pair, const Tokenizer* tokenizer);

// What checkPrompt has to cut, in bytes.
size_t textSize(const PromptPair& pair);

}  // namespace microtome::desktop
