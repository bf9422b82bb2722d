// kept.h — keys and values between runs, for every mixer that attends to all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// What was kept under `name` [batch, pos, head, *], then `now`. Where one side has fewer heads (a split input makes them
// query heads) its heads are repeated. Throws Error(kBadInput) where the two do not fit.
at::Tensor join_kept(const MixerState* state, const std::string& name, const at::Tensor& now, const std::string& kind);

}  // namespace microtome::mixers
