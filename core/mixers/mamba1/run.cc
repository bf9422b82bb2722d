#include <ATen/ATen.h>


#include "core/mixers/hooked_run.h"
#include "core/mixers/mamba1/parts.h"
#include "core/mixers/recurrence_op.h"

namespace microtome::mixers {

namespace {

// Fewer tokens are taken one by one.
constexpr int64_t kShort = 4;

bool chunked(MixerForm form, int64_t positions) {
  switch (form) {
    case MixerForm::kNaive: return false;
    case MixerForm::kChunk: return true;
    case MixerForm::kAuto: return positions >= kShort;
    default:
      throw Error(StatusCode::kUnsupported, std::string("mixer mamba1 has no form '") + form_name(form) + "'", "",
                  "use auto, naive or chunk");
  }
}

at::Tensor span(const Mamba1Input& in, at::Tensor& state, MixerForm form) {
  return chunked(form, in.positions()) ? mamba1_chunk(in, state) : mamba1_naive(in, state);
}

// The tokens whose state is looked at or changed go one by one, what lies between them as spans.
at::Tensor stepped(const Mamba1Input& in, at::Tensor& state, HookScope& hooks, MixerForm form) {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, {"hook_state", "hook_state_write"}, T);
  std::vector<at::Tensor> z;
  int64_t from = 0;
  auto run_to = [&](int64_t to) {
    if (to > from) z.push_back(span(in.slice(from, to), state, form));
    from = to;
  };
  for (int64_t t = 0; t < T; ++t) {
    if (!stop[static_cast<size_t>(t)]) continue;
    run_to(t);
    auto at_point = [&](const char* name, const at::Tensor& x) {
      return hooks.apply_at(name, t, x.unsqueeze(3)).squeeze(3);
    };
    at::Tensor write = at_point("hook_state_write", in.write(t, t + 1).squeeze(1));
    state = at_point("hook_state", in.decay(t, t + 1).squeeze(1) * state + write);
    z.push_back(mamba1_read(in, t, state).unsqueeze(1));
    from = t + 1;
  }
  run_to(T);
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

at::Tensor implied(const Mamba1Input& in, const at::Tensor& before, const at::Tensor& z, HookScope& hooks, MixerForm form) {
  at::Tensor a = mamba1_pattern(in), v = in.v.transpose(1, 2).unsqueeze(3), share;
  if (before.defined()) {                // what the incoming state alone contributes
    Mamba1Input silent = in;
    silent.v = at::zeros_like(in.v);
    at::Tensor alone = before;
    share = span(silent, alone, form);
  }
  if (share.defined()) share = share.unsqueeze(3);
  return apply_implied(hooks, a, v, share, z.unsqueeze(3)).squeeze(3);
}

void check(const char* name, const at::Tensor& t, std::vector<int64_t> want) {
  if (t.sizes() != at::IntArrayRef(want))
    throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()) +
                                           ", expected " + c10::str(at::IntArrayRef(want)));
}

}  // namespace

at::Tensor mamba1_run(const Mamba1Input& in, at::Tensor& state, HookScope& hooks, MixerForm form) {
  const std::vector<int64_t> want = {in.v.size(0), in.v.size(2), in.A.size(1)};
  at::Tensor before = state;
  if (state.defined() && state.sizes() != at::IntArrayRef(want))
    throw Error(StatusCode::kBadInput, "the incoming state has shape " + c10::str(state.sizes()) + ", expected " +
                                           c10::str(at::IntArrayRef(want)), "mixer mamba1");
  state = state.defined() ? state.to(in.v.options()) : in.v.new_zeros(want);
  if (before.defined()) before = state;
  at::Tensor z = hooks.wants("hook_state") || hooks.wants("hook_state_write") ? stepped(in, state, hooks, form)
                                                                              : span(in, state, form);
  if (hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual")) z = implied(in, before, z, hooks, form);
  return z;
}

MixerOpResult mamba1_op(const MixerOpRequest& request) {
  const at::Tensor u = op_input(request, "u", 3), delta = op_input(request, "delta", 3), A = op_input(request, "A", 2),
                   B = op_input(request, "B", 3), C = op_input(request, "C", 3);
  const int64_t batch = u.size(0), n = u.size(1), T = u.size(2), N = A.size(1);
  check("delta", delta, {batch, n, T});
  check("A", A, {n, N});
  check("B", B, {batch, N, T});
  check("C", C, {batch, N, T});
  auto optional = [&](const char* name, std::vector<int64_t> want) {
    if (!request.inputs.count(name)) return at::Tensor();
    at::Tensor t = op_input(request, name, static_cast<int64_t>(want.size()));
    check(name, t, std::move(want));
    return t;
  };
  const at::Tensor bias = optional("delta_bias", {n}), gate = optional("z", {batch, n, T});
  at::Tensor dt = delta.transpose(1, 2);
  Mamba1Input in;
  in.q = C.transpose(1, 2).unsqueeze(2);
  in.k = B.transpose(1, 2).unsqueeze(2);
  in.v = u.transpose(1, 2);
  in.dt = at::softplus(bias.defined() ? dt + bias : dt);
  in.A = A;
  in.D = optional("Dskip", {n});
  const at::Tensor before = optional("initial_state", {batch, n, N});

  HookScope nothing;
  MixerOpResult out;
  at::Tensor state = before;
  at::Tensor z = mamba1_run(in, state, nothing, request.form).transpose(1, 2);
  out["o"] = gate.defined() ? z * at::silu(gate) : z;
  out["final_state"] = state;
  if (request.states) {
    std::vector<at::Tensor> all;
    at::Tensor s = before;
    for (int64_t t = 0; t < T; ++t) {
      mamba1_run(in.slice(t, t + 1), s, nothing, MixerForm::kNaive);
      all.push_back(s);
    }
    out["states"] = at::stack(all, 1);
  }
  if (request.implied) out["A"] = out["attn"] = mamba1_pattern(in);
  return out;
}

}  // namespace microtome::mixers
