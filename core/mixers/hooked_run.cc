#include "core/mixers/hooked_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>

#include "core/mixers/positions.h"

namespace microtome::mixers {

void check_input(const MixerInput& in, int64_t d_model, const std::string& kind) {
  if (in.x.defined() && in.x.dim() == 3 && in.x.size(2) == d_model && in.x.size(1) >= 1) return;
  throw Error(StatusCode::kBadInput, "x has shape " + (in.x.defined() ? c10::str(in.x.sizes()) : "none") +
                                         ", expected [batch, pos, " + std::to_string(d_model) + "] with pos at least 1",
              "mixer " + kind);
}

void refuse_recurrent_form(const MixerRun& run, const std::string& kind) {
  if (run.form == MixerForm::kRecurrent)
    throw Error(StatusCode::kUnsupported, "there is no recurrent form", "mixer " + kind, "use naive, chunk or auto");
}

at::Tensor kept_tensor(const MixerState* state, const std::string& name) {
  if (!state) return {};
  auto it = state->tensors.find(name);
  return it == state->tensors.end() ? at::Tensor() : it->second;
}

at::Tensor kept_tensor(const MixerState* state, const std::string& name, at::IntArrayRef shape, const at::TensorOptions& options,
                       const std::string& kind) {
  at::Tensor kept = kept_tensor(state, name);
  if (!kept.defined()) return {};
  if (kept.sizes() != shape)
    throw Error(StatusCode::kBadInput, "the incoming state " + name + " has shape " + c10::str(kept.sizes()) + ", expected " +
                                           c10::str(shape), "mixer " + kind);
  return kept.to(options);
}

at::Tensor only_read(const at::Tensor& x, const MixerRun& run) {
  if (!run.read || x.size(1) == static_cast<int64_t>(run.read->size())) return x;
  return at_positions(x, *run.read);
}

std::vector<bool> tokens_wanted(const HookScope& hooks, const std::vector<std::string>& points, int64_t count) {
  std::vector<bool> out(static_cast<size_t>(count), false);
  for (const std::string& point : points) {
    if (!hooks.wants(point)) continue;
    const auto positions = hooks.positions(point);
    if (!positions) out.assign(out.size(), true);
    else for (int64_t p : *positions)
      if (p >= 0 && p < count) out[static_cast<size_t>(p)] = true;
  }
  return out;
}

at::Tensor changed_pattern(HookScope& hooks, const at::Tensor& A, int64_t keys_a_token) {
  if (!hooks.wants("hook_pattern")) return {};
  const int64_t earlier = hooks.first_pos() * keys_a_token;
  at::Tensor used = hooks.apply("hook_pattern", earlier > 0 ? at::constant_pad_nd(A, {earlier, 0}) : A);
  return hooks.changes("hook_pattern") ? used.slice(3, earlier) : at::Tensor();
}

at::Tensor apply_implied(HookScope& hooks, const at::Tensor& A, const at::Tensor& v, const at::Tensor& share, const at::Tensor& z,
                         int64_t keys_a_token) {
  {
    at::NoGradGuard no_grad;
    at::Tensor mine = (share.defined() ? z - share : z).transpose(1, 2);
    at::Tensor wrong = (at::matmul(A, v) - mine).square().sum({2, 3}).sqrt(), size = mine.square().sum({2, 3}).sqrt();
    hooks.note("hook_pattern_residual", wrong / size.clamp_min(std::numeric_limits<float>::min()), {"batch", "head"});
  }
  at::Tensor used = changed_pattern(hooks, A, keys_a_token);
  if (!used.defined()) return z;
  at::Tensor changed = at::matmul(used, v).transpose(1, 2);
  return share.defined() ? changed + share : changed;
}

}  // namespace microtome::mixers
