// ablate.h — the causal half of the panel: what a layer's heads are worth for predicting the repeated half.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "analysis/head_probes/sequences.h"
#include "core/base/progress.h"

namespace microtome::analyses::head_probes {

struct AblateOptions {
  bool mean = false;  // replace z by its mean instead of zeros
  bool split_state = true;
  int64_t rows = 64;  // rows (heads × sequences) of a batch at most
  MixerForm form = MixerForm::kAuto;
};

// Whether the layer has a state that can be cut off from its past, and a short convolution whose past can be hidden.
bool has_state_part(const Model& model, int64_t layer);
bool has_conv_part(const Model& model, int64_t layer);

// "head", "state", "conv" [sequence, head]: rise of the second half's loss (nats a token) when the head, its state's
// memory, or its convolution's past is ablated; NaN where the layer has no such part (README.md defines each). Each run
// resumes at the layer from its cached input. Values on the CPU, float64.
std::map<std::string, at::Tensor> ablate_layer(const Model& model, const Sequences& sequences, int64_t layer,
                                               const AblateOptions& options, Progress& progress);
// Loss a token of the second half, [rows], nats: predictions of tokens n + 1 … 2n from logits at n … 2n - 1.
at::Tensor second_half_loss(const at::Tensor& logits, const at::Tensor& tokens, int64_t n);

}  // namespace microtome::analyses::head_probes
