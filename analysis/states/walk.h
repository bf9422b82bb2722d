// walk.h — a recurrent layer's states with all that explains them, a few tokens at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "analysis/states/measure.h"
#include "core/base/progress.h"
#include "core/model/model.h"

namespace microtome::analyses::states {

// tokens [batch, pos]; positions from `begin` on are given to on_span, in order. first: position of the span's first token.
void walk_states(const Model& model, int64_t layer, const at::Tensor& tokens, MixerForm form, int64_t begin,
                 Progress& progress, const std::function<void(int64_t first, const Span& span)>& on_span);

}  // namespace microtome::analyses::states
