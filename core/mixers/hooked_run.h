// hooked_run.h — what mixers share between their projections and their recurrence: the input's shape, what was kept, which
// tokens somebody looks at, and the pattern that a recurrence amounts to.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// Throws Error(kBadInput) unless in.x is [batch, pos, d_model] with at least one position.
void check_input(const MixerInput& in, int64_t d_model, const std::string& kind);
// Throws Error(kUnsupported) where the run asks for a recurrent form, for mixers that have a naive and a chunked one.
void refuse_recurrent_form(const MixerRun& run, const std::string& kind);

// What a layer kept under a name; undefined without it.
at::Tensor kept_tensor(const MixerState* state, const std::string& name);
// The same as options say. Throws Error(kBadInput) where it has another shape.
at::Tensor kept_tensor(const MixerState* state, const std::string& name, at::IntArrayRef shape, const at::TensorOptions& options,
                       const std::string& kind);

// Rows run.read of x [batch, pos, …], unless it holds just these already.
at::Tensor only_read(const at::Tensor& x, const MixerRun& run);

// Which of the run's tokens have one of the points wanted.
std::vector<bool> tokens_wanted(const HookScope& hooks, const std::vector<std::string>& points, int64_t count);

// Asks hook_pattern about A [batch, head, pos, k_pos of this run]; keys before it, which the incoming state has merged,
// get columns of zeros. keys_a_token: several writes a token. Undefined where A stays as it is.
at::Tensor changed_pattern(HookScope& hooks, const at::Tensor& A, int64_t keys_a_token = 1);
// z = A v + share, with the pattern and its residual |A v + share - z| / |z - share| told to whoever asks; where A is
// changed, the z that follows. v [batch, head, k_pos, d_v]; z and share [batch, pos, head, d_v], share undefined: none.
at::Tensor apply_implied(HookScope& hooks, const at::Tensor& A, const at::Tensor& v, const at::Tensor& share, const at::Tensor& z,
                         int64_t keys_a_token = 1);

}  // namespace microtome::mixers
