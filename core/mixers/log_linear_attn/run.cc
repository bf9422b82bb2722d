#include "core/mixers/log_linear_attn/run.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/recurrence_op.h"

namespace microtome::mixers {

namespace {

// Fewer tokens are taken one by one.
constexpr int64_t kShort = 8;

bool chunked(MixerForm form, int64_t positions) {
  switch (form) {
    case MixerForm::kNaive: return false;
    case MixerForm::kChunk: return true;
    case MixerForm::kAuto: return positions >= kShort;
    default:
      throw Error(StatusCode::kUnsupported, std::string("mixer log_linear_attn has no form '") + form_name(form) + "'", "",
                  "use auto, naive or chunk");
  }
}

at::Tensor span(const LogLinearInput& in, LevelStates& states, MixerForm form) {
  return chunked(form, in.positions()) ? log_linear_chunk(in, states) : log_linear_naive(in, states);
}

std::vector<std::string> state_points(int64_t levels) {
  std::vector<std::string> out = {"hook_state", "hook_state_write"};
  for (int64_t l = 0; l < levels; ++l) out.push_back("hook_state.level" + std::to_string(l));
  return out;
}

// Token t alone, its states seen and perhaps changed between write and read-out.
at::Tensor step(const LogLinearInput& in, LevelStates& states, HookScope& hooks, int64_t t) {
  merge_levels(states, in.first + t);
  decay_levels(in, t, states);
  at::Tensor write = outer_product(in.r.k.select(1, t), in.r.v.select(1, t));
  add_to_level(states, 0, hooks.apply_at("hook_state_write", t, write));
  for (int64_t l = 0; l < in.scales.size(3); ++l) {
    const std::string point = "hook_state.level" + std::to_string(l);
    if (!hooks.wants(point)) continue;
    const bool there = l < static_cast<int64_t>(states.size()) && states[static_cast<size_t>(l)].defined();
    at::Tensor s = hooks.apply_at(point, t, there ? states[static_cast<size_t>(l)] : at::zeros_like(write));
    if (!there && !hooks.changes(point)) continue;       // an empty level that was only looked at stays empty
    if (static_cast<int64_t>(states.size()) <= l) states.resize(static_cast<size_t>(l) + 1);
    states[static_cast<size_t>(l)] = s;
  }
  at::Tensor read = hooks.apply_at("hook_state", t, mixed_levels(in, t, states));
  return read_state(read, in.r.q.select(1, t)) * in.r.scale;
}

at::Tensor stepped(const LogLinearInput& in, LevelStates& states, HookScope& hooks, MixerForm form) {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, state_points(in.scales.size(3)), T);
  std::vector<at::Tensor> z;
  int64_t from = 0;
  for (int64_t t = 0; t <= T; ++t) {
    if (t < T && !stop[static_cast<size_t>(t)]) continue;
    if (t > from) z.push_back(span(in.slice(from, t), states, form));
    if (t < T) z.push_back(step(in, states, hooks, t).unsqueeze(1));
    from = t + 1;
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

at::Tensor implied(const LogLinearInput& in, LevelStates before, const at::Tensor& z, HookScope& hooks, MixerForm form) {
  at::Tensor a = log_linear_pattern(in), v = in.r.v.transpose(1, 2), share;
  if (in.r.skip.defined()) a = a + at::eye(a.size(3), a.options()) * in.r.skip.view({1, -1, 1, 1});
  if (!before.empty()) {                 // what the incoming states alone contribute
    LogLinearInput silent = in;
    silent.r.v = at::zeros_like(in.r.v);
    share = span(silent, before, form);
  }
  return apply_implied(hooks, a, v, share, z);
}

}  // namespace

at::Tensor stack_levels(const LevelStates& states) {
  at::Tensor zero;
  for (const at::Tensor& s : states)
    if (s.defined()) zero = at::zeros_like(s);
  LevelStates all = states;
  for (at::Tensor& s : all)
    if (!s.defined()) s = zero;
  return at::stack(all, 1);
}

LevelStates unstack_levels(const at::Tensor& states) { return states.unbind(1); }

at::Tensor log_linear_run(const LogLinearInput& in, LevelStates& states, HookScope& hooks, MixerForm form) {
  const int64_t last = in.first + in.positions() - 1, need = level_of(last, 0) + 1;
  if (need > in.scales.size(3))
    throw Error(StatusCode::kBadInput, "position " + std::to_string(last) + " needs " + std::to_string(need) +
                                           " levels, the layer has " + std::to_string(in.scales.size(3)),
                "mixer log_linear_attn", "shorten the prompt");
  const LevelStates before = states;
  bool seen = false;
  for (const std::string& point : state_points(in.scales.size(3))) seen = seen || hooks.wants(point);
  at::Tensor z = seen ? stepped(in, states, hooks, form) : span(in, states, form);
  if (in.r.skip.defined()) z = z + in.r.v * in.r.skip.view({1, 1, -1, 1});
  if (hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual")) z = implied(in, before, z, hooks, form);
  return z;
}

MixerOpResult log_linear_op(const MixerOpRequest& request) {
  LogLinearInput in;
  in.r.q = op_input(request, "q", 4);
  in.r.k = op_input(request, "k", 4);
  in.r.v = op_input(request, "v", 4);
  in.r.g = op_input(request, "g", 3).unsqueeze(3);
  in.scales = op_input(request, "level_scales", 4);
  const int64_t B = in.r.v.size(0), T = in.r.v.size(1), H = in.r.v.size(2), K = in.r.q.size(3);
  auto check = [&](const char* name, const at::Tensor& t, int64_t heads, int64_t width) {
    if (t.size(0) != B || t.size(1) != T || t.size(2) != heads || (width && t.size(3) != width))
      throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()) +
                                             ", which does not fit v's " + c10::str(in.r.v.sizes()));
  };
  const int64_t groups = in.r.k.size(2);
  check("q", in.r.q, groups, 0);
  check("k", in.r.k, groups, K);
  check("g", in.r.g, H, 1);
  check("level_scales", in.scales, H, 0);
  if (H % groups != 0)
    throw Error(StatusCode::kBadInput, "input 'k' has " + std::to_string(groups) + " heads, which do not divide v's " +
                                           std::to_string(H));
  in.r.q = in.r.q.repeat_interleave(H / groups, 2);
  in.r.k = in.r.k.repeat_interleave(H / groups, 2);
  in.r.scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(K)));

  HookScope nothing;
  LevelStates states;
  MixerOpResult out;
  out["o"] = log_linear_run(in, states, nothing, request.form);
  out["final_state"] = stack_levels(states);
  if (request.implied) {
    out["A"] = log_linear_pattern(in);
    std::vector<int64_t> levels(static_cast<size_t>(T * T), -1);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t s = 0; s <= t; ++s) levels[static_cast<size_t>(t * T + s)] = level_of(t, s);
    out["levels"] = at::tensor(levels, at::TensorOptions().dtype(at::kLong)).view({T, T});
  }
  return out;
}

}  // namespace microtome::mixers
