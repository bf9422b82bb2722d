// pattern_numbers.h — where heads look, without their patterns: layers that answer hook_pattern_statistics and hook_pattern_at
// (softmax attention) run whole and hold no tensor of queries × keys.
#pragma once

#include <functional>
#include <vector>

#include "analysis/engine/layers.h"

namespace microtome::engine {

// The layer answers questions about its pattern without making it.
bool has_pattern_numbers(const Model& model, int64_t layer);

// Asks hook_pattern_at for p[q, q - offset], one offset a place of its last axis, in order; at most as many as it has places.
// Where q < offset it is 0.
void ask_offsets(HookPlan& plan, int64_t layer, const std::vector<int64_t>& offsets);

// What ask_offsets asked for: [batch, head, queries].
at::Tensor at_place(const ActivationCache& cache, int64_t layer, int64_t place);
// One of kPatternNumbers (core/mixers/softmax_attention/statistics.h) by name: [batch, head, queries].
at::Tensor pattern_number(const ActivationCache& cache, int64_t layer, const char* name);

// stream_layers (layers.h), where a layer's plan may ask for more than captures. cut: the layer's patterns are held, so that it
// runs `span` queries at a time.
struct LayerWish {
  std::function<void(HookPlan& plan)> prepare;
  bool cut = false;
};
at::Tensor stream_layers_asking(const Model& model, const at::Tensor& tokens, MixerForm form, int64_t span,
                                const std::function<LayerWish(int64_t layer)>& wish, const OnLayer& on_layer);

}  // namespace microtome::engine
