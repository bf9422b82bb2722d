// kept.h — what a training run that is not done has kept in the project: its curves, and the dictionaries of its last checkpoint.
// Read without the model.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/dictionary_training/plan.h"

namespace microtome::training {

// The array of a state that says what is trained: names, configurations, and the scale of the activations at each of plan.hooks.
NamedArray kept_plan(const Plan& plan, const std::vector<double>& factors);

struct Kept {
  AnalysisResult result;                     // curves and tables; with the dictionaries where they were asked for
  int64_t step = 0, steps = 0;               // of the checkpoint; of the whole training
};
// items: those that are whole, in their order; state: AnalysisRun::state(). Absent: the state is no training's, or was kept before
// states said what they train. Throws Error(kBadInput) for a state that does not fit itself.
std::optional<Kept> kept_training(const std::vector<std::vector<NamedArray>>& items, const std::vector<NamedArray>& state, bool dictionaries);

}  // namespace microtome::training
