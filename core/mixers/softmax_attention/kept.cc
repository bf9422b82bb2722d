#include "core/mixers/softmax_attention/kept.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/hooked_run.h"
#include "core/mixers/softmax_attention/attention.h"

namespace microtome::mixers {

at::Tensor join_kept(const MixerState* state, const std::string& name, const at::Tensor& now, const std::string& kind) {
  const at::Tensor before = kept_tensor(state, name);
  if (!before.defined()) return now;
  const bool fits = before.dim() == 4 && before.size(0) == now.size(0) && before.size(3) == now.size(3) &&
                    (before.size(2) % now.size(2) == 0 || now.size(2) % before.size(2) == 0);
  if (!fits)
    throw Error(StatusCode::kBadInput, "the state '" + name + "' has shape " + c10::str(before.sizes()) +
                                           ", which does not continue " + c10::str(now.sizes()), "mixer " + kind);
  const int64_t heads = std::max(before.size(2), now.size(2));
  return at::cat({repeat_heads(before.to(now.options()), heads), repeat_heads(now, heads)}, 1);
}

}  // namespace microtome::mixers
