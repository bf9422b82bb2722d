#include "core/mixers/frozen_linear.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace microtome::mixers {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

class FrozenLinear : public torch::autograd::Function<FrozenLinear> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& weight, const std::optional<at::Tensor>& bias) {
    ctx->save_for_backward({weight});
    return at::linear(x, weight, bias);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor weight = ctx->get_saved_variables()[0], &g = grads[0];
    std::vector<int64_t> shape = g.sizes().vec();
    shape.back() = weight.size(1);
    return {at::mm(g.reshape({-1, g.size(-1)}), weight).view(shape), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const std::optional<at::Tensor> b = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  const bool one_node = at::GradMode::is_enabled() && x.requires_grad() && !weight.requires_grad() && !(bias.defined() && bias.requires_grad());
  return one_node ? FrozenLinear::apply(x, weight, b) : at::linear(x, weight, b);
}

}  // namespace microtome::mixers
