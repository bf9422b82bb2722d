// plan.h — what a training run trains: dictionaries by point and by value of the sweep, read from the parameters that `sae` and
// `transcoder` share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/training/trainer.h"

namespace microtome::training {

struct Member {
  DictionaryConfig config;
  size_t in = 0, out = 0;                    // indices into Plan::hooks
  int64_t later = 0;                         // cross-layer: layers after its own that it writes to
};

// Dictionaries that are trained together: one, or the layers of a cross-layer transcoder.
struct Group {
  std::string name;                          // "blocks.3.hook_resid_post", with the sweep's value behind it: "…, k 16"
  double swept = 0;                          // NaN without a sweep
  std::vector<Member> members;
  TrainerSettings settings;
  double initial_threshold = 0;
};

struct Plan {
  std::vector<std::string> hooks;            // read in the one pass, no two alike
  std::vector<Group> groups;
  std::string swept;                         // "k", "l1", "l0", or "" without a sweep
  int64_t batch = 0, steps = 0, checkpoint_every = 0, log_every = 0, length = 0, from = 0, eval_tokens = 0, patience = 0, block_tokens = 0;
  bool normalise = true, evaluate_ends = false;
  double decoder_norm = 0.1;
};

// pairs: {hook_in, hook_out} of every dictionary; alike for autoencoders. Throws Error(kBadInput) naming the parameter.
Plan make_plan(const AnalysisInput& input, const std::vector<std::pair<std::string, std::string>>& pairs, bool cross_layer, bool skip);
// "4, 8, 16" → numbers > 0, at most 16, ascending, no two alike.
std::vector<double> read_sweep(const std::string& text, const std::string& param);

}  // namespace microtome::training
