// probe.h — the looking half of the panel: attention scores of known meaning on repeated random tokens, and copying.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "analysis/head_probes/sequences.h"
#include "core/base/progress.h"

namespace microtome::analyses::head_probes {

// Of sequences [begin, begin + rows): "induction", "duplicate", "prev_token", their "…_diagonal" forms and "copying"
// [sequence, layer, head], "loss_first_half" and "loss_second_half" [sequence] (nats a token). NaN where a layer has no
// pattern. On the CPU, float64.
std::map<std::string, at::Tensor> probe_repeats(const Model& model, const Sequences& sequences, int64_t begin,
                                                int64_t rows, MixerForm form, Progress& progress);
// "prefix_matching" [sequence, layer, head] on sequences whose tokens come `times` times.
at::Tensor probe_prefix(const Model& model, const Sequences& sequences, int64_t begin, int64_t rows, MixerForm form);

}  // namespace microtome::analyses::head_probes
