// frozen_layer.h — norms and token mixers of one run as linear maps: a norm divides by what it divided by, a mixer's values
// go through the pattern it had. Attention, or the matrix that a recurrence amounts to (hook_pattern), the short convolution's
// activation, the norm and the gate behind the read-out are all frozen at their values of that run; only the values' path stays.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "core/model/model.h"

namespace microtome::feature_circuit {

// y = (x - mean) / scale * gain + bias, parts as the norm has them.
struct FrozenNorm {
  bool none = true, centres = false;
  at::Tensor scale, gain, bias;              // scale [pos, 1]

  // kind: a norm by name ("blocks.2.ln1"), its scale captured in that run.
  static void capture(const Model& model, const std::string& name, HookPlan& plan);
  FrozenNorm() = default;
  FrozenNorm(const Model& model, const std::string& name, const NormConfig& config, const ActivationCache& cache);
  at::Tensor apply(const at::Tensor& x) const;                          // [batch, pos, d]
  at::Tensor divide(const at::Tensor& x) const;                         // hook_normalized: without gain and bias
  // Gradients [batch, n, d] at the first n positions, from the output to the input; from hook_normalized to the input.
  at::Tensor back(const at::Tensor& g) const;
  at::Tensor back_divided(const at::Tensor& g) const;
  FrozenNorm at(int64_t position) const;                                // that position alone
};

// out = W_o (r ⊙ A (c ⊙ conv(W_v x + b))) + b_o of one layer; x normalised.
struct FrozenMixer {
  int64_t heads = 0, value_heads = 0, width = 0, steps = 1;
  at::Tensor w_v, b_v, w_o, b_o;             // [values, d_model], [d_model, heads * width]
  at::Tensor conv, conv_bias;                // [values, taps]; undefined: no short convolution
  at::Tensor value_factor, out_factor;       // [pos, values], [pos, heads * width]; undefined: 1
  at::Tensor pattern;                        // [head, pos, pos * steps]; in a temporary file where it is large
  double scale = 1;                          // of the output

  static void capture(const Model& model, int64_t layer, HookPlan& plan);
  // Throws Error(kUnsupported) naming the layer and its mixer where that form does not give what the mixer gave. x: what it
  // read; out: what joined the stream, `behind` of what the mixer gave. [pos, d_model]
  static FrozenMixer make(const Model& model, int64_t layer, const ActivationCache& cache, const at::Tensor& x,
                          const std::function<at::Tensor(const at::Tensor&)>& behind, const at::Tensor& out);
  at::Tensor apply(const at::Tensor& x) const;                          // [batch, pos, d_model]
  at::Tensor back(const at::Tensor& g) const;                           // gradients at the first n positions

  // Gradient g [d_model] of the output at `position` → of x by head and source: [head, position + 1, d_model].
  at::Tensor back_heads(const at::Tensor& g, int64_t position) const;

  // What a head carries from one position's values to another's output, without the pattern: [d_model out, d_model in]; value
  // and output factors left out.
  at::Tensor ov(int64_t head) const;
  at::Tensor apply_values(const at::Tensor& x) const;                   // [batch, pos, values], as hook_v has them
};

// A tensor of many numbers in a temporary file that has no name and goes with the tensor.
at::Tensor to_scratch(const at::Tensor& t);

}  // namespace microtome::feature_circuit
