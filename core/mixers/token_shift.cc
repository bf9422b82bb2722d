#include "core/mixers/token_shift.h"

#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"

namespace microtome::mixers {

TokenShift::TokenShift(const MixerInput& in, const MixerState* state) : in_(in), before_(kept_tensor(state, "shift")) {
  earlier_ = one_earlier(in.x, before_);
}

void TokenShift::keep(MixerState* state) const {
  if (state) state->tensors["shift"] = in_.x.slice(1, in_.x.size(1) - 1);
}

MixerInput TokenShift::mixed(const std::string& role, const Mix& mix) const {
  MixerInput out;
  auto split = in_.split.find(role);
  if (split == in_.split.end()) out.x = mix(in_.x, earlier_);
  else out.split[role] = mix(split->second, one_earlier(split->second, before_));
  return out;
}

MixerInput TokenShift::mixed(const std::string& role, const at::Tensor& w) const {
  return mixed(role, [&](const at::Tensor& x, const at::Tensor& earlier) { return x + (earlier - x) * w.flatten(); });
}

}  // namespace microtome::mixers
