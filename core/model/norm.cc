#include "core/model/norm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/base/status.h"
#include "core/mixers/projections.h"
#include "core/mixers/shared_heads.h"
#include "core/model/kernel_library.h"
#include "kernels/layer_norm/layer_norm.h"

namespace microtome {
namespace {

bool differentiated(const at::Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

}  // namespace

at::Tensor Norm::in_one_pass(const at::Tensor& x, HookScope& hooks) const {
  if (!x.is_cuda()) return {};         // nothing is opened for a CPU's sake
  static const auto start = reinterpret_cast<kernels::LayerNormCuda>(kernel_function(kernels::kLayerNormCudaSymbol));
  auto fits = [](const at::Tensor& t) { return !t.defined() || (t.scalar_type() == at::kFloat && t.is_contiguous() && !t.requires_grad()); };
  if (!start || x.scalar_type() != at::kFloat || differentiated(x) || !fits(weight) || !fits(bias)) return {};
  const at::Tensor in = x.contiguous();
  kernels::LayerNorm n;
  n.width = in.size(-1);
  n.rows = in.numel() / n.width;
  n.eps = config.eps;
  n.centred = config.kind == NormConfig::Kind::kLayer;
  n.x = in.const_data_ptr<float>();
  if (weight.defined()) n.gain = weight.const_data_ptr<float>();
  if (bias.defined()) n.bias = bias.const_data_ptr<float>();
  std::vector<int64_t> shape = in.sizes().vec();
  shape.back() = 1;
  at::Tensor scale = at::empty(shape, in.options()), hat = at::empty_like(in), y = n.gain || n.bias ? at::empty_like(in) : hat;
  n.scale = scale.mutable_data_ptr<float>();
  n.normalized = hat.mutable_data_ptr<float>();
  if (n.gain || n.bias) n.y = y.mutable_data_ptr<float>();
  if (const char* error = start(n, in.device().index(), current_stream(in.device())))
    throw Error(StatusCode::kFailed, std::string("the GPU refuses the norm: ") + error);
  hooks.apply("hook_scale", scale);
  hooks.apply("hook_normalized", hat);
  return y;
}

at::Tensor Norm::operator()(const at::Tensor& x, HookScope* hooks) const {
  if (config.kind == NormConfig::Kind::kNone) return x;
  const bool centres = config.kind == NormConfig::Kind::kLayer;
  const bool asked = hooks && hooks->any();
  if (!asked && mixers::same_for_heads(x) && !(weight.defined() && weight.requires_grad())) return mixers::norm_shared(x, weight, bias, config.eps, centres);
  if (!asked && centres) return at::layer_norm(x, {x.size(-1)}, weight, bias, config.eps);
  if (asked && !hooks->changes("hook_scale")) {
    // One pass over the stream, where the definition below takes nine.
    if (!hooks->changes("hook_normalized"))
      if (at::Tensor y = in_one_pass(x, *hooks); y.defined()) return y;
    if (centres && x.scalar_type() != at::kHalf && x.scalar_type() != at::kBFloat16) {
      auto [hat, mean, inverse] = at::native_layer_norm(x, {x.size(-1)}, {}, {}, config.eps);
      if (hooks->wants("hook_scale")) hooks->apply("hook_scale", inverse.reciprocal());
      return finish(hooks->apply("hook_normalized", hat));
    }
  }
  // A mean of squares in a half type loses too much.
  const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  at::Tensor wide = half ? x.to(at::kFloat) : x;
  if (!asked && !half && x.is_cuda() && !bias.defined()) return mixers::rms_norm(x, weight, config.eps);
  if (!asked) return finish((wide * (wide.square().mean(-1, true) + config.eps).rsqrt()).to(x.scalar_type()));
  if (centres) wide = wide - wide.mean(-1, true);
  at::Tensor scale = hooks->apply("hook_scale", (wide.square().mean(-1, true) + config.eps).sqrt().to(x.scalar_type()));
  return finish(hooks->apply("hook_normalized", (wide / scale).to(x.scalar_type())));
}

at::Tensor Norm::finish(at::Tensor y) const {
  if (weight.defined() && bias.defined()) return at::addcmul(bias, y, weight);
  if (weight.defined()) y = y * weight;
  return bias.defined() ? y + bias : y;
}

Norm make_norm(const NormConfig& config, const ModelWeights& w, const std::string& name) {
  if (config.kind == NormConfig::Kind::kNone) return {config, {}, {}};
  at::Tensor weight = w.find(name + ".weight");
  if (weight.defined() && config.offset != 0) weight = weight + config.offset;
  return {config, weight, w.find(name + ".bias")};
}

at::Tensor activate(const std::string& name, const at::Tensor& x) {
  if (name == "silu") return at::silu(x);
  if (name == "gelu") return at::gelu(x);
  if (name == "gelu_new") return at::gelu(x, "tanh");
  if (name == "relu") return at::relu(x);
  if (name == "relu2") return at::relu(x).square();
  throw Error(StatusCode::kInternal, "activation '" + name + "' is not implemented");
}

}  // namespace microtome
