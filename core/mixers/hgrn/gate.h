// gate.h — the forget gate of HGRN and HGRN2, kept above a bound that grows from layer to layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/params.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// Parameters: use_lower_bound (on), layer_idx, num_layers. The first layer has no bound.
struct ForgetGate {
  bool bounded = false;
  int64_t layer = 0, layers = 1;
};

// Throws Error(kBadInput) naming layer_idx and num_layers unless 0 <= layer_idx < num_layers.
ForgetGate read_forget_gate(const Params& p, const std::string& kind);
// lower_bounds [layers, channels]: the model's own, which every layer reads; none where the gate is not bounded.
std::vector<WeightSpec> forget_gate_weights(const ForgetGate& gate, int64_t channels);

// g = log(lb + (1 - lb) sigmoid(logit)), lb = the softmax over layers of lower_bounds, summed over layers 1 … layer.
//   logit [batch, pos, head, d] with head * d channels; lower_bounds as above, undefined: no bound. At least float32.
at::Tensor forget_gate(const ForgetGate& gate, const at::Tensor& logit, const at::Tensor& lower_bounds);
// The same of a given bound, of a shape that broadcasts with logit; undefined: none.
at::Tensor bounded_log_sigmoid(const at::Tensor& logit, const at::Tensor& bound);

}  // namespace microtome::mixers
