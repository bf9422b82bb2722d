// token_shift.h — RWKV's token shift: a projection reads a mix of the token's input and of the one before it. What is
// kept between runs is one input, state "shift" [batch, 1, d_model].
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

class TokenShift {
 public:
  // Reads the kept input; state may be null. Does not change it.
  TokenShift(const MixerInput& in, const MixerState* state);
  // Keeps the last input of this run.
  void keep(MixerState* state) const;

  // The role's input after mix(x, x one position earlier), whole or by heads as it came; all else is left out.
  using Mix = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& earlier)>;
  MixerInput mixed(const std::string& role, const Mix& mix) const;
  // x + (earlier - x) w, w broadcasting over the last axis.
  MixerInput mixed(const std::string& role, const at::Tensor& w) const;

 private:
  const MixerInput& in_;               // outlives this
  at::Tensor before_, earlier_;
};

}  // namespace microtome::mixers
