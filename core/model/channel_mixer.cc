#include "core/model/channel_mixer.h"

#include <ATen/ATen.h>

#include "core/mixers/frozen_linear.h"
#include "core/mixers/projections.h"
#include "core/model/norm.h"

namespace microtome {
namespace {

using mixers::weight_or_none;

DenseMlp dense_mlp(const ChannelMixerConfig& config, const WeightMap& w, const std::string& prefix) {
  auto find = [&](const char* name) { return weight_or_none(w, prefix + name); };
  return {config, find("gate.weight"), find("gate.bias"), find("up.weight"), find("up.bias"), find("down.weight"),
          find("down.bias")};
}

at::Tensor scaled(const at::Tensor& x, double by) { return by == 1 ? x : x * by; }

}  // namespace

at::Tensor DenseMlp::operator()(const at::Tensor& in, HookScope* hooks) const {
  auto point = [&](const char* name, const at::Tensor& x) { return hooks ? hooks->apply(name, x) : x; };
  at::Tensor post;
  if (config.gated) {
    at::Tensor pre = point("hook_pre", scaled(mixers::frozen_linear(in, gate, gate_bias), config.gate_scale));
    at::Tensor linear = point("hook_pre_linear", mixers::frozen_linear(in, up, up_bias));
    post = activate(config.activation, pre) * linear;
  } else {
    post = activate(config.activation, point("hook_pre", mixers::frozen_linear(in, up, up_bias)));
  }
  return scaled(mixers::frozen_linear(point("hook_post", post), down, down_bias), config.down_scale);
}

ChannelMixer::ChannelMixer(const ChannelMixerConfig& config, const WeightMap& w) : config_(config) {
  shift_up_ = weight_or_none(w, "shift.up");
  receptance_ = weight_or_none(w, "receptance.weight");
  shift_receptance_ = weight_or_none(w, "shift.receptance");
  if (config.experts.count == 0) {
    dense_ = dense_mlp(config, w, "");
    return;
  }
  router_ = weight_or_none(w, "router.weight");
  router_bias_ = weight_or_none(w, "router.bias");
  correction_ = weight_or_none(w, "router.correction");
  shared_gate_ = weight_or_none(w, "shared_gate.weight");
  for (int64_t e = 0; e < config.experts.count; ++e)
    experts_.push_back(dense_mlp(config, w, "experts." + std::to_string(e) + "."));
  if (config.experts.d_shared) shared_ = dense_mlp(config, w, "shared.");
}

at::Tensor ChannelMixer::operator()(const at::Tensor& x, MixerState* state, HookScope hooks) const {
  at::Tensor in = hooks.apply("hook_in", x), earlier, strength;
  if (config_.experts.count) return route(in, hooks);
  if (shifts()) {
    at::Tensor before;
    if (state)
      if (auto it = state->tensors.find("mlp_shift"); it != state->tensors.end()) before = it->second;
    earlier = mixers::one_earlier(in, before);
    if (state) state->tensors["mlp_shift"] = in.slice(1, in.size(1) - 1);
  }
  if (config_.receptance)
    strength = hooks.apply("hook_receptance", at::linear(mixed(in, earlier, shift_receptance_), receptance_).sigmoid());
  at::Tensor out = dense_(mixed(in, earlier, shift_up_), &hooks);
  return strength.defined() ? strength * out : out;
}

at::Tensor ChannelMixer::mixed(const at::Tensor& x, const at::Tensor& earlier, const at::Tensor& w) const {
  switch (config_.shift) {
    case ChannelMixerConfig::Shift::kToEarlier: return x + (earlier - x) * w.flatten();
    case ChannelMixerConfig::Shift::kToCurrent: return x * w.flatten() + earlier * (1 - w.flatten());
    default: return x;
  }
}

// Experts are run one after the other, each on the tokens that chose it.
at::Tensor ChannelMixer::route(const at::Tensor& in, HookScope& hooks) const {
  const ExpertsConfig& c = config_.experts;
  at::Tensor logits = hooks.apply("hook_router_logits", at::linear(in, router_, router_bias_));
  at::Tensor wide = logits.to(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  at::Tensor scores = c.scores == ExpertsConfig::Scores::kSoftmax ? at::softmax(wide, -1) : at::sigmoid(wide);
  at::Tensor rank = correction_.defined() ? scores + correction_ : scores;
  if (c.groups > 1) {
    at::Tensor by_group = rank.unflatten(-1, {c.groups, c.count / c.groups});
    at::Tensor best = std::get<0>(by_group.topk(std::min<int64_t>(2, by_group.size(-1)), -1)).sum(-1);
    at::Tensor kept = at::zeros_like(best).scatter(-1, std::get<1>(best.topk(c.groups_kept, -1)), 1.0);
    rank = by_group.masked_fill(kept.unsqueeze(-1).eq(0), -std::numeric_limits<double>::infinity()).flatten(-2);
  }
  at::Tensor chosen = std::get<1>(rank.topk(c.per_token, -1));
  at::Tensor weights = scores.gather(-1, chosen);
  if (c.renormalize) weights = weights / (weights.sum(-1, true) + (c.scores == ExpertsConfig::Scores::kSigmoid ? 1e-20 : 0.0));
  at::Tensor by_expert = at::zeros_like(scores).scatter(-1, chosen, weights * c.scale).to(in.scalar_type());
  by_expert = hooks.apply("hook_expert_weights", by_expert);

  at::Tensor tokens = in.flatten(0, 1), flat = by_expert.flatten(0, 1);
  at::Tensor out = at::zeros_like(tokens);
  // The derivative of a weight that is 0 is not: whoever changes or differentiates the weights gets every expert run.
  const bool everyone = hooks.changes("hook_expert_weights");
  for (int64_t e = 0; e < c.count; ++e) {
    at::Tensor strength = flat.select(1, e);
    at::Tensor who = everyone ? at::arange(strength.size(0), strength.options().dtype(at::kLong)) : strength.nonzero().squeeze(1);
    if (who.numel() == 0) continue;
    at::Tensor y = experts_[static_cast<size_t>(e)](tokens.index_select(0, who), nullptr);
    out = out.index_add(0, who, y * strength.index_select(0, who).unsqueeze(1));
  }
  out = out.view_as(in);
  if (c.d_shared) {
    at::Tensor always = shared_(in, nullptr);
    if (shared_gate_.defined()) always = always * at::linear(in, shared_gate_).sigmoid();
    out = out + hooks.apply("hook_shared_out", always);
  }
  return out;
}

std::vector<HookPoint> channel_points(const ChannelMixerConfig& c, int64_t d) {
  std::vector<HookPoint> out;
  auto wide = [&](const char* name, int64_t width, const char* axis, const char* note = "") {
    out.push_back({name, {"batch", "pos", axis}, {-1, -1, width}, false, note});
  };
  wide("hook_in", d, "d_model");
  if (c.experts.count) {
    wide("hook_router_logits", c.experts.count, "expert");
    wide("hook_expert_weights", c.experts.count, "expert", "0 where the expert does not run");
    if (c.experts.d_shared) wide("hook_shared_out", d, "d_model");
    return out;
  }
  wide("hook_pre", c.d_mlp, "d_mlp");
  if (c.gated) wide("hook_pre_linear", c.d_mlp, "d_mlp");
  wide("hook_post", c.d_mlp, "d_mlp");
  if (c.receptance) wide("hook_receptance", d, "d_model");
  return out;
}

}  // namespace microtome
