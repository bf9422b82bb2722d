// block.h — one layer: a token mixer and a channel mixer, each with its norms, joined to the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/mixers/token_mixer.h"
#include "core/model/channel_mixer.h"
#include "core/model/norm.h"

namespace microtome {

class Block {
 public:
  Block(const LayerConfig& config, const ModelConfig& model, const ModelWeights& weights, int64_t index);

  // how.read: relative positions whose residual is wanted (last block only); unset: all. pruned: set when the result holds
  // just these.
  at::Tensor forward(at::Tensor x, MixerState* state, HookRun& run, MixerRun how, bool& pruned, SharedValues& shared) const;
  // Only what the mixer leaves for later layers; x enters the block.
  void leave(const at::Tensor& x, MixerState* state, SharedValues& shared) const;

  const TokenMixer& mixer() const { return *mixer_; }
  // Whether positions nobody reads may be left out: not when each position's input is needed by the next.
  bool can_prune() const { return !mlp_.shifts(); }

 private:
  at::Tensor mix(const at::Tensor& x, const at::Tensor& normed, MixerState* state, HookScope& here, const MixerRun& how,
                 SharedValues& shared) const;
  at::Tensor transform(const at::Tensor& normed, MixerState* state, HookScope& here) const;

  LayerConfig config_;
  std::string prefix_;
  Norm ln1_, ln2_, post1_, post2_;
  std::unique_ptr<TokenMixer> mixer_;
  ChannelMixer mlp_;
};

}  // namespace microtome
