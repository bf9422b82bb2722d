// channel_mixer.h — the part of a block that works on each position alone: a dense MLP or routed experts, with its hook
// points below "blocks.i.mlp".
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/hooks/hook_scope.h"
#include "core/mixers/token_mixer.h"
#include "core/model/model_config.h"

namespace microtome {

// One MLP: down(act(gate x) * up x) or down(act(up x)).
struct DenseMlp {
  ChannelMixerConfig config;
  at::Tensor gate, gate_bias, up, up_bias, down, down_bias;

  // in [..., d_model] → the same. hooks: null for an expert, whose inner points depend on the routing and do not exist.
  at::Tensor operator()(const at::Tensor& in, HookScope* hooks) const;
};

class ChannelMixer {
 public:
  // weights: names relative to "blocks.i.mlp.".
  ChannelMixer(const ChannelMixerConfig& config, const WeightMap& weights);

  bool exists() const { return config_.d_mlp > 0; }
  // True when it keeps one input between runs.
  bool shifts() const { return config_.shift != ChannelMixerConfig::Shift::kNone; }
  // x [batch, pos, d_model], normalised. state: the layer's, where one input is kept under "mlp_shift"; null: starts from
  // zero, keeps nothing.
  at::Tensor operator()(const at::Tensor& x, MixerState* state, HookScope hooks) const;

 private:
  at::Tensor mixed(const at::Tensor& x, const at::Tensor& earlier, const at::Tensor& w) const;
  at::Tensor route(const at::Tensor& in, HookScope& hooks) const;

  ChannelMixerConfig config_;
  DenseMlp dense_;
  std::vector<DenseMlp> experts_;
  DenseMlp shared_;
  at::Tensor shift_up_, receptance_, shift_receptance_, router_, router_bias_, correction_, shared_gate_;
};

// The hook points of a channel mixer, names relative to "blocks.i.mlp.".
std::vector<HookPoint> channel_points(const ChannelMixerConfig& config, int64_t d_model);

}  // namespace microtome
