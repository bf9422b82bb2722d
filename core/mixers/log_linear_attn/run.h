// run.h — a whole run of log-linear attention with its hook points, and the op.
#pragma once

#include "core/mixers/log_linear_attn/forms.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// Mixes a run, asking for hook_state, hook_state_write, hook_state.levelN and hook_pattern; r.skip is added to z and to the
// pattern's diagonal. Returns z [batch, pos, head, d_v]. Throws Error(kUnsupported) for a form that does not exist,
// Error(kBadInput) for a position that needs more levels than scales has.
at::Tensor log_linear_run(const LogLinearInput& in, LevelStates& states, HookScope& hooks, MixerForm form);

// As one tensor [batch, level, head, d_k, d_v], and back.
at::Tensor stack_levels(const LevelStates& states);
LevelStates unstack_levels(const at::Tensor& states);

// q, k [batch, pos, head or fewer, d_k], v [batch, pos, head, d_v], g [batch, pos, head], level_scales [batch, pos, head,
// level], scalar "scale" (default d_k^-0.5) → o, final_state [batch, level, head, d_k, d_v], and on request A and levels
// [q_pos, k_pos], -1 above the diagonal.
MixerOpResult log_linear_op(const MixerOpRequest& request);

}  // namespace microtome::mixers
