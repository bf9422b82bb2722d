#include "core/mixers/shared_heads.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
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

// dx of NormShared in one pass over each row, where the four of whole tensors would each wait for memory. All in float on the
// CPU, last axes dense: g [row, head, d] by strides, factor and hat [row, d]; out as g.
void norm_rows(const at::Tensor& g, const at::Tensor& factor, const at::Tensor& hat, bool centred, at::Tensor& out) {
  const int64_t rows = g.size(0), heads = g.size(1), d = g.size(2);
  const float *from = g.const_data_ptr<float>(), *f = factor.const_data_ptr<float>(), *x = hat.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const int64_t row_from = g.stride(0), head_from = g.stride(1), row_to = out.stride(0), head_to = out.stride(1);
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    constexpr int64_t kLanes = 16;
    for (int64_t r = begin; r < end; ++r)
      for (int64_t h = 0; h < heads; ++h) {
        const float *in = from + r * row_from + h * head_from, *scale = f + r * d, *normed = x + r * d;
        float* u = to + r * row_to + h * head_to;
        float sums[kLanes] = {}, dots[kLanes] = {};
        int64_t k = 0;
        for (; k + kLanes <= d; k += kLanes)
          for (int64_t i = 0; i < kLanes; ++i) {
            const float v = in[k + i] * scale[k + i];
            u[k + i] = v;
            sums[i] += v;
            dots[i] += v * normed[k + i];
          }
        for (; k < d; ++k) {
          u[k] = in[k] * scale[k];
          sums[0] += u[k];
          dots[0] += u[k] * normed[k];
        }
        float mean = 0, dot = 0;
        for (int64_t i = 0; i < kLanes; ++i) {
          mean += sums[i];
          dot += dots[i];
        }
        mean = centred ? mean / static_cast<float>(d) : 0;
        dot /= static_cast<float>(d);
        for (k = 0; k < d; ++k) u[k] -= mean + dot * normed[k];
      }
  });
}

class NormShared : public torch::autograd::Function<NormShared> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const std::optional<at::Tensor>& gain_, const std::optional<at::Tensor>& bias_, double eps, bool centred) {
    const at::Tensor gain = gain_.value_or(at::Tensor()), bias = bias_.value_or(at::Tensor());
    at::Tensor one = x.select(2, 0);
    const bool half = one.scalar_type() == at::kHalf || one.scalar_type() == at::kBFloat16;
    if (centred && !half) {
      auto [y, mean, scale] = at::native_layer_norm(one, {one.size(-1)}, gain, bias, eps);
      ctx->save_for_backward({(one - mean) * scale, scale, gain});
      ctx->saved_data["centred"] = centred;
      return y.unsqueeze(2).expand(x.sizes());
    }
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
    const at::Tensor& g = grads[0];
    if (g.is_cpu() && g.scalar_type() == at::kFloat && hat.scalar_type() == at::kFloat && g.stride(3) == 1 && g.is_non_overlapping_and_dense()) {
      const at::Tensor f = (gain.defined() ? gain * scale : scale.expand_as(hat)).to(at::kFloat).contiguous().flatten(0, 1);
      at::Tensor out = at::empty_like(g);              // with g's strides
      at::Tensor rows = g.flatten(0, 1), to = out.flatten(0, 1);
      if (rows.data_ptr() == g.data_ptr() && to.data_ptr() == out.data_ptr()) {   // views: batch and pos lie one behind the other
        norm_rows(rows, f, hat.contiguous().flatten(0, 1), centred, to);
        return {out, Variable(), Variable(), Variable(), Variable()};
      }
    }
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
