#include "core/model/norm.h"

#include <ATen/ATen.h>

#include "core/mixers/shared_heads.h"

namespace microtome {

at::Tensor Norm::operator()(const at::Tensor& x, HookScope* hooks) const {
  if (config.kind == NormConfig::Kind::kNone) return x;
  const bool centres = config.kind == NormConfig::Kind::kLayer;
  const bool asked = hooks && hooks->any();
  if (!asked && mixers::same_for_heads(x) && !(weight.defined() && weight.requires_grad())) return mixers::norm_shared(x, weight, bias, config.eps, centres);
  if (!asked && centres) return at::layer_norm(x, {x.size(-1)}, weight, bias, config.eps);
  // A mean of squares in a half type loses too much.
  const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  at::Tensor wide = half ? x.to(at::kFloat) : x;
  if (!asked) return finish((wide * (wide.square().mean(-1, true) + config.eps).rsqrt()).to(x.scalar_type()));
  if (centres) wide = wide - wide.mean(-1, true);
  at::Tensor scale = hooks->apply("hook_scale", (wide.square().mean(-1, true) + config.eps).sqrt().to(x.scalar_type()));
  return finish(hooks->apply("hook_normalized", (wide / scale).to(x.scalar_type())));
}

at::Tensor Norm::finish(at::Tensor y) const {
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
