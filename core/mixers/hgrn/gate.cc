#include "core/mixers/hgrn/gate.h"

#include <ATen/ATen.h>

#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

ForgetGate read_forget_gate(const Params& p, const std::string& kind) {
  ForgetGate gate;
  gate.layers = p.get_int("num_layers", 1);
  check_size(kind, "num_layers", gate.layers, 1 << 20);
  gate.layer = p.get_int("layer_idx", 0);
  if (gate.layer < 0 || gate.layer >= gate.layers)
    throw Error(StatusCode::kBadInput, "layer_idx is " + std::to_string(gate.layer) + ", expected 0 to num_layers - 1 = " +
                                           std::to_string(gate.layers - 1), "mixer " + kind);
  gate.bounded = p.get_bool("use_lower_bound", true) && gate.layer > 0;
  return gate;
}

std::vector<WeightSpec> forget_gate_weights(const ForgetGate& gate, int64_t channels) {
  if (!gate.bounded) return {};
  return {{"lower_bounds", {gate.layers, channels}}};
}

at::Tensor bounded_log_sigmoid(const at::Tensor& logit, const at::Tensor& bound) {
  at::Tensor g = at::log_sigmoid(at_least_float32(logit));
  if (!bound.defined()) return g;
  at::Tensor b = bound.to(g.scalar_type());
  return at::logaddexp(b.log(), at::log1p(-b) + g);
}

at::Tensor forget_gate(const ForgetGate& gate, const at::Tensor& logit, const at::Tensor& lower_bounds) {
  if (!gate.bounded || !lower_bounds.defined()) return bounded_log_sigmoid(logit, {});
  at::Tensor share = at::softmax(at_least_float32(lower_bounds), 0);
  return bounded_log_sigmoid(logit, share.slice(0, 1, gate.layer + 1).sum(0).view({logit.size(2), logit.size(3)}));
}

}  // namespace microtome::mixers
