#include "core/mixers/vector_recurrence.h"
#include "core/mixers/hooked_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace microtome::mixers {

namespace {

constexpr int64_t kChunk = 32;
// Fewer tokens are taken one by one.
constexpr int64_t kShort = 8;

at::Tensor span(const VectorInput& in, at::Tensor& h, MixerForm form, const std::string& kind) {
  switch (form) {
    case MixerForm::kNaive: return vector_naive(in, h);
    case MixerForm::kChunk: return vector_chunk(in, h);
    case MixerForm::kAuto: return in.positions() < kShort ? vector_naive(in, h) : vector_chunk(in, h);
    default:
      throw Error(StatusCode::kUnsupported, "mixer " + kind + " has no form '" + form_name(form) + "'", "",
                  "use auto, naive or chunk");
  }
}

at::Tensor ask(HookScope& hooks, const char* point, int64_t t, const at::Tensor& x) {
  return hooks.apply_at(point, t, x.unsqueeze(2).unsqueeze(3)).squeeze(3).squeeze(2);
}

// The tokens whose state or write may change go one by one, what lies between them as spans.
at::Tensor stepped(const VectorInput& in, at::Tensor& h, HookScope& hooks, MixerForm form, const std::string& kind) {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, {"hook_state", "hook_state_write"}, T);
  std::vector<at::Tensor> z;
  int64_t from = 0;
  for (int64_t t = 0; t <= T; ++t) {
    if (t < T && !stop[static_cast<size_t>(t)]) continue;
    if (t > from) z.push_back(span(in.slice(from, t), h, form, kind));
    from = t + 1;
    if (t == T) break;
    at::Tensor write = ask(hooks, "hook_state_write", t, in.k.select(1, t) * in.v.select(1, t));
    h = ask(hooks, "hook_state", t, in.g.select(1, t).exp() * h + write);
    z.push_back(h.unsqueeze(1));
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

// b, the sum of g. Below -1e4 a decay is zero in every type; the bound keeps differences finite where g is -inf.
at::Tensor sums(const VectorInput& in) { return in.g.to(at::kDouble).clamp_min(-1e4).cumsum(1); }

at::Tensor implied(const VectorInput& in, const at::Tensor& before, const at::Tensor& z, HookScope& hooks) {
  at::Tensor a = vector_pattern(in), v = in.v.transpose(1, 2).unsqueeze(3);          // [batch, channel, pos, 1]
  at::Tensor share = sums(in).to(z.scalar_type()).exp() * before.unsqueeze(1);
  return apply_implied(hooks, a, v, share.unsqueeze(3), z.unsqueeze(3)).squeeze(3);
}

}  // namespace

VectorInput VectorInput::slice(int64_t from, int64_t to) const {
  return {k.slice(1, from, to), v.slice(1, from, to), g.slice(1, from, to)};
}

at::Tensor vector_naive(const VectorInput& in, at::Tensor& h) {
  std::vector<at::Tensor> all;
  for (int64_t t = 0; t < in.positions(); ++t) {
    h = in.g.select(1, t).exp() * h + in.k.select(1, t) * in.v.select(1, t);
    all.push_back(h);
  }
  return at::stack(all, 1);
}

// In a chunk x_t holds what the last w tokens wrote, decayed to t, and a_t their decay; both reach back twice as far
// with every doubling:
//
//   x_t ← x_t + a_t x_{t-w};   a_t ← a_t a_{t-w}          w = 1, 2, 4 …
//
// No decay is ever divided by another. Then h_t = x_t + a_t h, h the state before the chunk.
at::Tensor vector_chunk(const VectorInput& in, at::Tensor& h) {
  const int64_t B = in.v.size(0), T = in.positions(), D = in.v.size(2), C = std::min(T, kChunk), n = (T + C - 1) / C;
  auto cut = [&](const at::Tensor& y) { return at::constant_pad_nd(y, {0, 0, 0, n * C - T}).view({B, n, C, D}); };
  at::Tensor x = cut(in.k * in.v), a = cut(in.g).exp();
  for (int64_t w = 1; w < C; w *= 2) {
    at::Tensor reach = a.slice(2, w);
    x = at::cat({x.slice(2, 0, w), x.slice(2, w) + reach * x.slice(2, 0, C - w)}, 2);
    a = at::cat({a.slice(2, 0, w), reach * a.slice(2, 0, C - w)}, 2);
  }
  std::vector<at::Tensor> starts;
  for (int64_t c = 0; c < n; ++c) {
    starts.push_back(h);
    h = x.select(1, c).select(1, C - 1) + a.select(1, c).select(1, C - 1) * h;
  }
  return (x + a * at::stack(starts, 1).unsqueeze(2)).view({B, n * C, D}).slice(1, 0, T);
}

at::Tensor vector_pattern(const VectorInput& in) {
  const int64_t T = in.positions();
  at::Tensor b = sums(in).transpose(1, 2);                             // [batch, channel, pos]
  at::Tensor future = at::ones({T, T}, b.options().dtype(at::kBool)).triu(1);
  at::Tensor between = (b.unsqueeze(3) - b.unsqueeze(2)).to(in.v.scalar_type());
  between = between.masked_fill(future, -std::numeric_limits<double>::infinity());
  return between.exp() * in.k.transpose(1, 2).unsqueeze(2);
}

at::Tensor run_vector(const VectorInput& in, at::Tensor& h, HookScope& hooks, MixerForm form, const std::string& kind) {
  if (!h.defined()) h = in.v.new_zeros({in.v.size(0), in.v.size(2)});
  const at::Tensor before = h;
  const bool changed = hooks.changes("hook_state") || hooks.changes("hook_state_write");
  at::Tensor z = changed ? stepped(in, h, hooks, form, kind) : span(in, h, form, kind);
  // Only looked at, the states are the read-outs.
  for (const char* point : {"hook_state", "hook_state_write"}) {
    if (changed || !hooks.wants(point)) continue;
    const std::vector<bool> wanted = tokens_wanted(hooks, {point}, in.positions());
    for (int64_t t = 0; t < in.positions(); ++t)
      if (wanted[static_cast<size_t>(t)])
        ask(hooks, point, t, point == std::string("hook_state") ? z.select(1, t) : in.k.select(1, t) * in.v.select(1, t));
  }
  if (hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual")) z = implied(in, before, z, hooks);
  return z;
}

at::Tensor kept_vector(const MixerState* state, const at::Tensor& like, const std::string& kind) {
  const int64_t B = like.size(0), D = like.size(-1);
  at::Tensor S = kept_tensor(state, "S", {B, D, 1, 1}, like.options(), kind);
  return S.defined() ? S.view({B, D}) : S;
}

void keep_vector(MixerState* state, const at::Tensor& h) {
  if (state) state->tensors["S"] = h.unsqueeze(2).unsqueeze(3);
}

MixerInfo vector_info(const std::string& kind, int64_t n, int64_t d_model) {
  MixerInfo info;
  info.kind = kind;
  info.recurrent = true;
  info.heads = info.kv_heads = n;
  info.d_k = info.d_v = 1;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 keys = {"batch", "pos", "head", "d_k"}, matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> one = {-1, -1, n, 1}, state = {-1, -1, n, 1, 1};
  info.points = {
      {"hook_k", by_head, one, false, "how strongly the value is written; every channel is a head"},
      {"hook_v", by_head, one, false, "every channel is a head"},
      {"hook_decay", keys, one, false, "log of the decay"},
      {"hook_state", matrix, state, true, "1 × 1"},
      {"hook_state_write", matrix, state, true, "1 × 1"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, n, -1, -1}, true, "a matrix a channel: the decay from key to "
       "query times hook_k"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, n}, true, "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, one, false, "the state as it is read; before norm and gate"},
      {"hook_gate", values, one, false, "after its activation"},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, n, d_model}, true, "a channel's own contribution"}};
  return info;
}

}  // namespace microtome::mixers
