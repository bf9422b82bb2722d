// norm.h — a normaliser with its weights, over the last axis, and the points that show what it divides by.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/hooks/hook_scope.h"
#include "core/model/model_config.h"
#include "core/model/weights.h"

namespace microtome {

struct Norm {
  NormConfig config;
  at::Tensor weight, bias;             // weight with the configuration's offset; undefined where there is none

  // x over its last axis. hooks: where hook_scale and hook_normalized live (null: a per-head input, which has neither).
  at::Tensor operator()(const at::Tensor& x, HookScope* hooks) const;

 private:
  at::Tensor finish(at::Tensor y) const;
  // Scale, normalised stream and output by a kernel (kernels/layer_norm), both shown to the hooks; undefined where it does not
  // cover the case.
  at::Tensor in_one_pass(const at::Tensor& x, HookScope& hooks) const;
};

// The norm with weights name.weight and name.bias.
Norm make_norm(const NormConfig& config, const ModelWeights& weights, const std::string& name);

// Elementwise activation by canonical name (ChannelMixerConfig::activation); Error(kInternal) for another.
at::Tensor activate(const std::string& name, const at::Tensor& x);

}  // namespace microtome
