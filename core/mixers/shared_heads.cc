#include "core/mixers/shared_heads.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

namespace microtome::mixers {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

class ProjectShared : public torch::autograd::Function<ProjectShared> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& weight) {
    ctx->save_for_backward({weight});
    at::Tensor y = at::linear(x.select(2, 0), weight.flatten(0, 1));
    return y.view({y.size(0), y.size(1), weight.size(0), weight.size(1)});
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor weight = ctx->get_saved_variables()[0], &g = grads[0];     // [batch, pos, head, width]
    at::Tensor by_head = at::bmm(g.permute({2, 0, 1, 3}).flatten(1, 2), weight);   // [head, batch * pos, d]
    return {by_head.view({g.size(2), g.size(0), g.size(1), weight.size(2)}).permute({1, 2, 0, 3}), Variable()};
  }
};

class NormShared : public torch::autograd::Function<NormShared> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const std::optional<at::Tensor>& gain_, const std::optional<at::Tensor>& bias_, double eps, bool centred) {
    const at::Tensor gain = gain_.value_or(at::Tensor()), bias = bias_.value_or(at::Tensor());
    at::Tensor one = x.select(2, 0);
    const bool half = one.scalar_type() == at::kHalf || one.scalar_type() == at::kBFloat16;
    at::Tensor wide = half ? one.to(at::kFloat) : one;
    if (centred) wide = wide - wide.mean(-1, true);
    at::Tensor scale = (wide.square().mean(-1, true) + eps).rsqrt(), hat = wide * scale;
    ctx->save_for_backward({hat, scale, gain});
    ctx->saved_data["centred"] = centred;
    at::Tensor y = hat.to(x.scalar_type());
    if (gain.defined()) y = y * gain;
    if (bias.defined()) y = y + bias;
    return y.unsqueeze(2).expand(x.sizes());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hat = saved[0], &scale = saved[1], &gain = saved[2];
    const bool centred = ctx->saved_data["centred"].toBool();
    // Of y = hat gain: u = g gain scale, dx = u - mean(u) - hat mean(u hat); both means in one product, both sums in another.
    at::Tensor factor = (gain.defined() ? gain * scale : scale).unsqueeze(2);
    at::Tensor u = (grads[0] * factor).flatten(0, 1);                                // [row, head, d]
    at::Tensor row = hat.flatten(0, 1).unsqueeze(1);                                 // [row, 1, d]
    at::Tensor basis = centred ? at::cat({at::ones_like(row), row}, 1) : row;        // [row, 1 or 2, d]
    at::Tensor means = at::bmm(u, basis.transpose(1, 2)) / static_cast<double>(u.size(2));
    u = at::baddbmm(u, means, basis, 1, -1);
    return {u.view(grads[0].sizes()).to(grads[0].scalar_type()), Variable(), Variable(), Variable(), Variable()};
  }
};

}  // namespace

bool same_for_heads(const at::Tensor& x) { return x.dim() == 4 && x.size(2) > 1 && x.stride(2) == 0; }

at::Tensor project_shared(const at::Tensor& x, const at::Tensor& weight) { return ProjectShared::apply(x, weight); }

at::Tensor norm_shared(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, double eps, bool centred) {
  auto given = [](const at::Tensor& t) { return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt; };
  return NormShared::apply(x, given(gain), given(bias), eps, centred);
}

}  // namespace microtome::mixers
