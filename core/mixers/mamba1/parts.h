// parts.h — what the layer and the op of Mamba share: configuration, the run with its hook points, the op itself.
#pragma once

#include <vector>

#include "core/mixers/mamba1/forms.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// The parameters of README.md.
struct Mamba1Config {
  int64_t d_model = 0, d_inner = 0, state_size = 16, dt_rank = 0;
  int64_t conv_size = 4;
  bool conv_bias = true, in_bias = false, out_bias = false;
  bool bcdt_norm = false, bcdt_norm_weight = false;
  double bcdt_norm_eps = 1e-6;
};

// Throws Error(kBadInput) naming the parameter, its value and what is allowed.
Mamba1Config read_mamba1(const Params& p, int64_t d_model);
MixerInfo mamba1_info(const Mamba1Config& c);
std::vector<WeightSpec> mamba1_weights(const Mamba1Config& c);

// Mixes a whole run, asking for hook_state, hook_state_write and hook_pattern: z [batch, pos, channel]. state [batch,
// channel, d_state], undefined for zero, is read and replaced. Throws Error(kUnsupported) for a form that does not exist.
at::Tensor mamba1_run(const Mamba1Input& in, at::Tensor& state, HookScope& hooks, MixerForm form);

// u, delta, z [batch, channel, pos], A [channel, d_state], B, C [batch, d_state, pos], Dskip, delta_bias [channel],
// initial_state [batch, channel, d_state] → o [batch, channel, pos] (times silu(z) where z is given), final_state, and on
// request states [batch, pos, channel, d_state] and attn (also as A) [batch, channel, q_pos, k_pos] with the skip.
MixerOpResult mamba1_op(const MixerOpRequest& request);

}  // namespace microtome::mixers
