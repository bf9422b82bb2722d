#include "core/model/block.h"

#include <ATen/ATen.h>

#include "core/mixers/positions.h"
#include "core/mixers/registry.h"

namespace microtome {
namespace {

const NormConfig kNoNorm{NormConfig::Kind::kNone, 0, false, false, 0};

at::Tensor scaled(const at::Tensor& x, double by) { return by == 1 ? x : x * by; }

}  // namespace

Block::Block(const LayerConfig& l, const ModelConfig& model, const ModelWeights& w, int64_t index)
    : config_(l), prefix_("blocks." + std::to_string(index)), ln1_(make_norm(l.norm1, w, prefix_ + ".ln1")),
      ln2_(make_norm(l.norm2, w, prefix_ + ".ln2")), post1_(make_norm(l.post1.value_or(kNoNorm), w, prefix_ + ".ln1_post")),
      post2_(make_norm(l.post2.value_or(kNoNorm), w, prefix_ + ".ln2_post")),
      mixer_(mixers::builtin().find(l.mixer)->create(l.mixer_params, model.d_model, w.below(prefix_ + ".attn."))),
      mlp_(l.channel, w.below(prefix_ + ".mlp.")) {}

void Block::leave(const at::Tensor& x, MixerState* state, SharedValues& shared) const {
  MixerInput in;
  in.x = config_.wiring == Wiring::kPostNorm ? x : ln1_(x, nullptr);
  in.shared = &shared;
  mixer_->leave(in, state);
}

at::Tensor Block::mix(const at::Tensor& x, const at::Tensor& normed, MixerState* state, HookScope& here,
                      const MixerRun& how, SharedValues& shared) const {
  MixerInput in;
  in.x = normed;
  in.shared = &shared;
  if (here.any()) {
    const MixerInfo& info = mixer_->info();
    for (const std::string& role : info.inputs) {
      std::string point = "hook_" + role + "_input";
      if (!here.wants(point)) continue;
      at::Tensor split = here.apply(point, x.unsqueeze(2).expand({x.size(0), x.size(1), info.heads, x.size(2)}));
      in.split[role] = config_.wiring == Wiring::kPostNorm ? split : ln1_(split, nullptr);
    }
  }
  HookScope attn = here.sibling(prefix_ + ".attn"), post = here.sibling(prefix_ + ".ln1_post");
  return scaled(post1_(mixer_->forward(in, state, attn, how), &post), config_.add1);
}

at::Tensor Block::transform(const at::Tensor& normed, MixerState* state, HookScope& here) const {
  HookScope post = here.sibling(prefix_ + ".ln2_post");
  return scaled(post2_(mlp_(normed, state, here.sibling(prefix_ + ".mlp")), &post), config_.add2);
}

at::Tensor Block::forward(at::Tensor x, MixerState* state, HookRun& run, MixerRun how, bool& pruned,
                          SharedValues& shared) const {
  HookScope here(&run, prefix_);
  HookScope ln1 = here.sibling(prefix_ + ".ln1"), ln2 = here.sibling(prefix_ + ".ln2");
  const bool post_norm = config_.wiring == Wiring::kPostNorm, any = here.any();
  x = here.apply("hook_resid_pre", x);
  at::Tensor mixer_in = any && here.wants("hook_mixer_in") ? here.apply("hook_mixer_in", x) : x;
  at::Tensor normed = post_norm ? mixer_in : ln1_(mixer_in, &ln1);
  if (any) how.read.reset();
  at::Tensor attn_out = mix(mixer_in, normed, state, here, how, shared);
  if (how.read) {
    // A mixer that cannot leave positions out returns them all. (Equal counts: the mixer gave exactly `read`.)
    if (attn_out.size(1) != static_cast<int64_t>(how.read->size())) attn_out = mixers::at_positions(attn_out, *how.read);
    x = mixers::at_positions(x, *how.read);
    if (config_.normed_stream) normed = mixers::at_positions(normed, *how.read);
    pruned = true;
  }
  attn_out = here.apply("hook_attn_out", attn_out);
  auto mlp_in = [&] { return any && here.wants("hook_mlp_in") ? here.apply("hook_mlp_in", x) : x; };
  if (config_.wiring == Wiring::kParallel) {
    at::Tensor mlp_out = here.apply("hook_mlp_out", transform(ln2_(mlp_in(), &ln2), state, here));
    return here.apply("hook_resid_post", x + attn_out + mlp_out);
  }
  x = scaled(config_.normed_stream ? normed : x, config_.keep1) + attn_out;
  if (!mlp_.exists()) return here.apply("hook_resid_post", post_norm ? ln1_(x, &ln1) : x);
  x = here.apply("hook_resid_mid", post_norm ? ln1_(x, &ln1) : x);
  at::Tensor reads = mlp_in();
  normed = post_norm ? reads : ln2_(reads, &ln2);
  at::Tensor mlp_out = here.apply("hook_mlp_out", transform(normed, state, here));
  x = scaled(config_.normed_stream ? normed : x, config_.keep2) + mlp_out;
  return here.apply("hook_resid_post", post_norm ? ln2_(x, &ln2) : x);
}

}  // namespace microtome
