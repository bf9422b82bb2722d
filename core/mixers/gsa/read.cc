#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/gsa/forms.h"
#include "core/mixers/hooked_run.h"

namespace microtome::mixers {

namespace {

// Fewer tokens are taken one by one.
constexpr int64_t kShort = 8;

at::Tensor to_heads(const at::Tensor& t, int64_t axis, int64_t want) {
  return t.size(axis) == want ? t : t.repeat_interleave(want / t.size(axis), axis);
}

at::Tensor span(const RecurrenceInput& in, RecurrentState& state, MixerForm form) {
  switch (form) {
    case MixerForm::kNaive:
    case MixerForm::kRecurrent: return slot_scores_naive(in, state, true);
    case MixerForm::kChunk: return slot_scores_chunk(in, state, true);
    case MixerForm::kAuto:
      return (in.positions() < kShort ? slot_scores_naive : slot_scores_chunk)(in, state, true);
  }
  return {};
}

// Spans up to the tokens whose slots somebody wants to see or change; those that may change go alone.
at::Tensor spans(const RecurrenceInput& in, RecurrentState& state, HookScope& hooks, MixerForm form) {
  const char* point = "hook_state.hk";
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, {point}, T);
  std::vector<at::Tensor> found;
  int64_t from = 0;
  auto run_to = [&](int64_t to) {
    if (to > from) found.push_back(span(in.slice(from, to), state, form));
    from = to;
  };
  for (int64_t t = 0; t < T; ++t) {
    if (!stop[static_cast<size_t>(t)]) continue;
    if (!hooks.changes(point)) {
      run_to(t + 1);
      hooks.apply_at(point, t, state.S);
      continue;
    }
    run_to(t);
    slot_scores_naive(in.slice(t, t + 1), state, false);
    state.S = hooks.apply_at(point, t, state.S);
    found.push_back((read_state(state.S, in.q.select(1, t)) * in.scale).unsqueeze(1));
    from = t + 1;
  }
  run_to(T);
  return found.size() == 1 ? found[0] : at::cat(found, 1);
}

}  // namespace

at::Tensor read_slots(RecurrenceInput in, at::Tensor& H, HookScope* hooks, MixerForm form, const char* kind) {
  int64_t heads = std::max({in.k.size(2), in.v.size(2), in.g.size(2)});
  if (H.defined() && H.dim() == 4) heads = std::max(heads, H.size(1));
  const std::vector<int64_t> shape = {in.k.size(0), heads, in.k.size(3), in.v.size(3)};
  for (at::Tensor* t : {&in.k, &in.v, &in.g}) *t = to_heads(*t, 2, heads);
  if (in.q.size(2) < heads) in.q = to_heads(in.q, 2, heads);
  RecurrentState state;
  const bool divides = H.defined() && H.dim() == 4 && H.size(1) > 0 && heads % H.size(1) == 0;
  state.S = !H.defined() ? in.k.new_zeros(shape) : divides ? to_heads(H.to(in.k.options()), 1, heads) : H;
  if (state.S.sizes() != at::IntArrayRef(shape))
    throw Error(StatusCode::kBadInput, "the incoming state Hk has shape " + c10::str(H.sizes()) + ", expected " +
                                           c10::str(at::IntArrayRef(shape)), std::string("mixer ") + kind);
  at::Tensor found = hooks && hooks->wants("hook_state.hk") ? spans(in, state, *hooks, form)
                                                            : span(in, state, form);
  H = state.S;
  return at::softmax(found, -1);
}

}  // namespace microtome::mixers
