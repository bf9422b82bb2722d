// op.h — mLSTM's memory alone, and the choice of its form.
#pragma once

#include "core/mixers/mlstm/forms.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// A span in the form asked for; kAuto takes a few tokens one by one. Throws Error(kUnsupported) for a form that does not
// exist.
at::Tensor mlstm_span(const MlstmInput& in, MlstmState& state, MixerForm form);

// q, k [batch, pos, head, d_k], v [batch, pos, head, d_v], gate logits i and f [batch, pos, head], initial_state [batch,
// head, d_k, d_v], n0 [batch, head, d_k], m0 [batch, head, 1]; scalars scale (d_k^-0.5), eps (1e-6) → o, final_state,
// n_final, m_final, and on request states, n_states, m_states and A. Throws Error(kBadInput) naming the input.
MixerOpResult mlstm_op(const MixerOpRequest& request);

}  // namespace microtome::mixers
