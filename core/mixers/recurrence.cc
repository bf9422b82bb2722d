#include "core/mixers/recurrence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/hooks/index_tensor.h"
#include "core/mixers/chunk_kernel.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/positions.h"
#include "core/mixers/scan.h"

namespace microtome::mixers {

namespace {

// Below this many tokens a loop over them costs less than the set-up of chunks.
constexpr int64_t kShortSpan = 8;
// Where states are looked at more often than that, one pass over all tokens costs less than chunks between them.
constexpr int64_t kScannedSpan = 64;
// Where only some outputs are read, the tokens before the first of them need states alone; cut at chunk borders.
constexpr int64_t kReadBorder = 64;
constexpr int64_t kPatternQueries = 256;

std::string shape_text(const at::Tensor& t) {
  std::string out = "[";
  for (int64_t i = 0; i < t.dim(); ++i) out += (i ? ", " : "") + std::to_string(t.size(i));
  return out + "]";
}

// Head h of `want` heads is head h / (want / have) of t.
at::Tensor to_heads(const at::Tensor& t, int64_t axis, int64_t want, const char* what) {
  const int64_t have = t.size(axis);
  if (have == want) return t;
  if (have == 0 || want % have != 0)
    throw Error(StatusCode::kBadInput, std::string(what) + " has " + std::to_string(have) +
                                           " heads, which do not divide " + std::to_string(want));
  return t.repeat_interleave(want / have, axis);
}

at::Tensor incoming(const at::Tensor& given, at::IntArrayRef want, const at::TensorOptions& options, const char* what) {
  if (!given.defined()) return at::zeros(want, options);
  if (given.dim() != static_cast<int64_t>(want.size()) || given.size(1) == 0 || want[1] % given.size(1) != 0)
    throw Error(StatusCode::kBadInput, std::string("the incoming state ") + what + " has shape " + shape_text(given) +
                                           ", expected " + c10::str(want));
  at::Tensor t = to_heads(given.to(options), 1, want[1], what);
  if (t.sizes() != want)
    throw Error(StatusCode::kBadInput, std::string("the incoming state ") + what + " has shape " + shape_text(given) +
                                           ", expected " + c10::str(want));
  return t;
}

bool is_narrow(const RecurrenceInput& in) { return in.q.scalar_type() == at::kBFloat16 || in.q.scalar_type() == at::kHalf; }

// For forms that work in the state's type.
RecurrenceInput widened(RecurrenceInput in) {
  for (at::Tensor* t : {&in.q, &in.k, &in.v}) *t = t->to(at::kFloat);
  return in;
}

// skip v by query heads: [batch, pos, head, d_v].
at::Tensor skipped(const RecurrenceInput& in) {
  return to_heads(in.v * in.skip.view({1, 1, -1, 1}), 2, in.q.size(2), "v");
}

}  // namespace

RecurrenceInput RecurrenceInput::slice(int64_t from, int64_t to) const {
  if (from == 0 && to == positions()) return *this;
  auto part = [&](const at::Tensor& t, int64_t each = 1) {
    return t.defined() ? t.slice(1, from * each, to * each) : t;
  };
  return {part(q), part(k, steps), part(v, steps), part(g), part(beta, steps), scale, part(a), part(b), u, steps, skip, narrow_z};
}

// (u . q_t k_t) v_t: what a read-out before the write still sees of its own token.
at::Tensor own_token(const RecurrenceInput& in, int64_t t) {
  at::Tensor q = in.q.select(1, t), k = in.k.select(1, t), v = in.v.select(1, t);
  const int64_t B = q.size(0), H = k.size(1), G = q.size(1) / H;
  at::Tensor weight = (q.reshape({B, H, G, -1}) * (in.u * k).unsqueeze(2)).sum(-1, true);
  return (weight * v.unsqueeze(2)).reshape({B, H * G, v.size(2)});
}

at::Tensor decay_at(const RecurrenceInput& in, int64_t t) { return in.g.select(1, t).exp().unsqueeze(-1); }

at::Tensor outer_product(const at::Tensor& k, const at::Tensor& v) { return k.unsqueeze(-1) * v.unsqueeze(-2); }

at::Tensor read_state(const at::Tensor& S, const at::Tensor& x) {
  const int64_t B = S.size(0), H = S.size(1), G = x.size(1) / H;
  return at::matmul(x.reshape({B, H, G, x.size(2)}), S).reshape({B, H * G, S.size(3)});
}

void LinearRecurrence::align(RecurrenceInput& in, RecurrentState& state, bool as_given) const {
  const auto type = in.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto token_type = as_given ? in.q.scalar_type() : type;
  int64_t heads = std::max(in.k.size(2), in.v.size(2));
  if (in.g.defined()) heads = std::max(heads, in.g.size(2));
  if (in.beta.defined()) heads = std::max(heads, in.beta.size(2));
  if (state.S.defined() && state.S.dim() == 4) heads = std::max(heads, state.S.size(1));
  in.k = to_heads(in.k.to(token_type), 2, heads, "k");
  in.v = to_heads(in.v.to(token_type), 2, heads, "v");
  if (in.g.defined()) in.g = to_heads(in.g.to(type), 2, heads, "the decay");
  if (in.beta.defined()) in.beta = to_heads(in.beta.to(type), 2, heads, "beta");
  if (in.a.defined()) in.a = to_heads(in.a.to(type), 2, heads, "a");
  if (in.b.defined()) in.b = to_heads(in.b.to(type), 2, heads, "b");
  if (in.u.defined()) in.u = to_heads(in.u.to(type), 0, heads, "u");
  if (in.skip.defined()) in.skip = to_heads(in.skip.to(type), 0, heads, "the skip");
  in.q = in.q.to(token_type);
  if (in.q.size(2) < heads) in.q = to_heads(in.q, 2, heads, "q");
  if (in.q.size(2) % heads != 0)
    throw Error(StatusCode::kBadInput, "q has " + std::to_string(in.q.size(2)) + " heads, no multiple of the state's " +
                                           std::to_string(heads));
  const int64_t B = in.q.size(0), K = in.k.size(3), V = in.v.size(3);
  const at::TensorOptions options = in.k.options().dtype(type);
  state.S = incoming(state.S, {B, heads, K, V}, options, "S");
  state.z = kind_.normalized ? incoming(state.z, {B, heads, K}, options, "z") : at::Tensor();
}

at::Tensor LinearRecurrence::span(MixerForm form, const RecurrenceInput& in, RecurrentState& state, bool read_out) const {
  const bool token_by_token = form == MixerForm::kRecurrent || (form == MixerForm::kAuto && in.positions() < kShortSpan);
  if (!token_by_token && form != MixerForm::kNaive && !chunk_kernel_refuses(kind_, in, state)) return chunk_kernel(kind_, in, state, read_out, nullptr);
  if (is_narrow(in)) return span(form, widened(in), state, read_out);
  if (token_by_token && scan_covers(kind_, in, state)) return scan(kind_, in, state, read_out, nullptr);
  return (token_by_token || form == MixerForm::kNaive ? kind_.naive : kind_.chunk)(in, state, read_out);
}

at::Tensor LinearRecurrence::noted(const RecurrenceInput& in, RecurrentState& state, HookScope& hooks, bool in_chunks) const {
  const int64_t T = in.positions();
  auto positions = [&](const char* point) {
    std::vector<int64_t> out;
    if (!hooks.wants(point)) return out;
    if (auto some = hooks.positions(point)) return *some;
    for (int64_t t = 0; t < T; ++t) out.push_back(t);
    return out;
  };
  auto of = [&](const at::Tensor& t, const std::vector<int64_t>& which) {
    return static_cast<int64_t>(which.size()) == T ? t : t.index_select(1, index_tensor(which, t.device()));
  };
  ChunkNotes notes;
  notes.keep = positions("hook_state");
  notes.want_written = hooks.wants("hook_state_write");
  const std::vector<int64_t> sums = kind_.normalized ? positions("hook_state_normalizer") : std::vector<int64_t>();
  if (in_chunks) notes.keep_normalizer = sums;
  at::Tensor z = in_chunks ? chunk_kernel(kind_, in, state, true, &notes) : scan(kind_, in, state, true, &notes);
  if (!notes.keep.empty()) hooks.keep("hook_state", notes.kept);
  if (const auto which = positions("hook_state_write"); !which.empty())
    hooks.keep("hook_state_write", outer_product(of(in.k, which).to(notes.written.scalar_type()), of(notes.written, which)));
  if (!sums.empty()) hooks.keep("hook_state_normalizer", in_chunks ? notes.kept_normalizer : of(notes.normalizer, sums));
  return z;
}

at::Tensor LinearRecurrence::step(const RecurrenceInput& in, RecurrentState& state, HookScope* hooks, int64_t t) const {
  at::Tensor q = in.q.select(1, t), k = in.k.select(1, t), v = in.v.select(1, t), before = state.S, write;
  at::Tensor decayed = in.g.defined() ? state.S * decay_at(in, t) : state.S;
  if (kind_.write) {
    write = kind_.write(in, t, before, decayed);
  } else {
    at::Tensor value = kind_.delta ? (v - read_state(decayed, k)) * in.beta.select(1, t).unsqueeze(-1) : v;
    write = outer_product(k, value);
  }
  if (hooks) write = hooks->apply_at("hook_state_write", t, write);
  state.S = decayed + write;
  if (hooks) state.S = hooks->apply_at("hook_state", t, state.S);
  if (kind_.reads_before) return (read_state(before, q) + own_token(in, t)) * in.scale;
  at::Tensor o = read_state(state.S, q) * in.scale;
  if (!kind_.normalized) return o;
  state.z = state.z + k;
  if (hooks) state.z = hooks->apply_at("hook_state_normalizer", t, state.z);
  return o / (read_state(state.z.unsqueeze(-1), q) * in.scale + kNormalizerEps);
}

at::Tensor LinearRecurrence::spans(const RecurrenceInput& in, RecurrentState& state, HookScope& hooks,
                                   MixerForm form) const {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, {"hook_state", "hook_state_write", "hook_state_normalizer"}, T);
  // A state that is only looked at is what a span leaves behind; one that may change must be caught before its
  // read-out.
  const bool only_looked_at = !hooks.changes("hook_state") && !hooks.changes("hook_state_normalizer") &&
                              !hooks.wants("hook_state_write");
  const int64_t stops = std::count(stop.begin(), stop.end(), true);
  const bool changed = hooks.changes("hook_state") || hooks.changes("hook_state_write") || hooks.changes("hook_state_normalizer");
  // The delta rules' kernels make states between chunk borders from what was written, all at once.
  const bool dense = !(kind_.delta && T >= kScannedSpan) && stops * kScannedSpan > T && !(T >= kScannedSpan && stops * kScannedSpan <= T + kScannedSpan);
  if ((form == MixerForm::kChunk || (form == MixerForm::kAuto && !dense)) && !changed && !chunk_kernel_differentiated(in, state) &&
      !chunk_kernel_refuses(kind_, in, state))
    return noted(in, state, hooks, true);
  if (is_narrow(in)) return spans(widened(in), state, hooks, form);
  if ((form == MixerForm::kRecurrent || (form == MixerForm::kAuto && stops * kScannedSpan > T)) && !changed && scan_covers(kind_, in, state, hooks.wants("hook_state_write")))
    return noted(in, state, hooks, false);
  std::vector<at::Tensor> outputs;
  int64_t from = 0;
  auto run_to = [&](int64_t to) {
    if (to > from) outputs.push_back(span(form, in.slice(from, to), state, true));
    from = to;
  };
  for (int64_t t = 0; t < T; ++t) {
    if (!stop[static_cast<size_t>(t)]) continue;
    if (only_looked_at && t > from) {
      run_to(t + 1);
      hooks.apply_at("hook_state", t, state.S);
      if (kind_.normalized) hooks.apply_at("hook_state_normalizer", t, state.z);
    } else {
      run_to(t);
      outputs.push_back(step(in, state, &hooks, t).unsqueeze(1));
      from = t + 1;
    }
  }
  run_to(T);
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 1);
}

at::Tensor LinearRecurrence::read_only(const RecurrenceInput& in, RecurrentState& state, MixerForm form,
                                       const std::vector<int64_t>& read) const {
  const int64_t T = in.positions();
  int64_t border = read.empty() ? T : read.front() / kReadBorder * kReadBorder;
  if (border > 0) span(form, in.slice(0, border), state, false);
  if (read.empty()) return in.q.new_zeros({in.q.size(0), 0, in.q.size(2), in.v.size(3)});
  RecurrenceInput rest = in.slice(border, T);
  at::Tensor z = span(form, rest, state, true);
  if (in.skip.defined()) z = z + skipped(rest);
  std::vector<int64_t> here = read;
  for (int64_t& p : here) p -= border;
  return at_positions(z, here);
}

at::Tensor LinearRecurrence::run(RecurrenceInput in, RecurrentState& state, HookScope& hooks,
                                 const MixerRun& run) const {
  const bool zero_before = !state.S.defined();
  const bool stepped = hooks.wants("hook_state") || hooks.wants("hook_state_write") ||
                       (kind_.normalized && hooks.wants("hook_state_normalizer"));
  const bool pattern_wanted = hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual");
  const bool narrow = is_narrow(in) && in.k.scalar_type() == in.q.scalar_type() && in.v.scalar_type() == in.q.scalar_type() && !pattern_wanted && in.q.is_cuda() &&
                      (run.form == MixerForm::kAuto || run.form == MixerForm::kChunk);
  align(in, state, narrow);
  if (narrow && chunk_kernel_refuses(kind_, in, state)) in = widened(in);
  auto out = [&](const at::Tensor& z) { return in.narrow_z || z.scalar_type() == at::kDouble ? z : z.to(at::kFloat); };
  if (run.read && !stepped && !pattern_wanted) return out(read_only(in, state, run.form, *run.read));

  const RecurrentState before = state;
  at::Tensor z = stepped ? spans(in, state, hooks, run.form)
                         : span(run.form, in, state, true);
  if (in.skip.defined()) z = z + skipped(in);
  if (pattern_wanted) z = implied(in, before, zero_before, z, hooks, run.form);
  return out(only_read(z, run));
}

at::Tensor LinearRecurrence::all_states(RecurrenceInput in, RecurrentState state, MixerForm form) const {
  align(in, state);
  if (states_by_chunks(in, state, form)) {
    ChunkNotes notes;
    for (int64_t t = 0; t < in.positions(); ++t) notes.keep.push_back(t);
    chunk_kernel(kind_, in, state, false, &notes);
    return notes.kept;
  }
  if ((form == MixerForm::kAuto || form == MixerForm::kRecurrent) && scan_covers(kind_, in, state)) {
    ScanNotes notes;
    for (int64_t t = 0; t < in.positions(); ++t) notes.keep.push_back(t);
    scan(kind_, in, state, false, &notes);
    return notes.kept;
  }
  std::vector<at::Tensor> states;
  for (int64_t t = 0; t < in.positions(); ++t) {
    step(in, state, nullptr, t);
    states.push_back(state.S);
  }
  return at::stack(states, 1);
}

bool LinearRecurrence::states_by_chunks(const RecurrenceInput& in, const RecurrentState& state, MixerForm form) const {
  const bool asked = form == MixerForm::kChunk || (form == MixerForm::kAuto && kind_.delta && in.positions() >= kScannedSpan);
  return asked && !chunk_kernel_differentiated(in, state) && !chunk_kernel_refuses(kind_, in, state);
}

at::Tensor LinearRecurrence::run_with_states(RecurrenceInput in, RecurrentState& state, const MixerRun& how, at::Tensor& states) const {
  const RecurrentState before = state;
  align(in, state);
  if (states_by_chunks(in, state, how.form)) {
    ChunkNotes notes;
    for (int64_t t = 0; t < in.positions(); ++t) notes.keep.push_back(t);
    at::Tensor z = chunk_kernel(kind_, in, state, true, &notes);
    states = notes.kept;
    if (in.skip.defined()) z = z + skipped(in);
    return only_read(z, how);
  }
  if ((how.form == MixerForm::kAuto || how.form == MixerForm::kRecurrent) && scan_covers(kind_, in, state)) {
    ScanNotes notes;
    for (int64_t t = 0; t < in.positions(); ++t) notes.keep.push_back(t);
    at::Tensor z = scan(kind_, in, state, true, &notes);
    states = notes.kept;
    if (in.skip.defined()) z = z + skipped(in);
    return only_read(z, how);
  }
  states = all_states(in, before, how.form);
  HookScope nothing;
  state = before;
  return run(in, state, nothing, how);
}

at::Tensor LinearRecurrence::pattern(RecurrenceInput in, RecurrentState state, MixerForm form) const {
  align(in, state);
  // The naive form is the judge and stays with the definition.
  const bool plain = !kind_.delta && !kind_.write && !kind_.reads_before;
  if (form != MixerForm::kNaive && plain && (!in.g.defined() || in.g.size(3) == 1)) {
    return closed_pattern(in, state.z);
  }
  const int64_t B = in.q.size(0), T = in.positions(), H = state.S.size(1), K = state.S.size(2), n = in.steps;
  state.S = in.k.new_zeros({B, H, K, 0});
  std::vector<at::Tensor> rows;
  for (int64_t from = 0; from < T; from += kPatternQueries) {
    const int64_t to = std::min(T, from + kPatternQueries), m = to - from;
    // Columns of later tokens are zero so far and not carried along.
    state.S = at::constant_pad_nd(state.S, {0, m * n});
    RecurrenceInput part = in.slice(from, to);
    at::Tensor one_hot = at::constant_pad_nd(at::eye(m * n, in.k.options()), {from * n, 0});
    part.v = one_hot.view({1, m * n, 1, to * n}).expand({B, m * n, H, to * n});
    at::Tensor row = span(form, part, state, true);
    rows.push_back(to == T ? row : at::constant_pad_nd(row, {0, (T - to) * n}));
  }
  at::Tensor a = rows.size() == 1 ? rows[0] : at::cat(rows, 1);
  return a.permute({0, 2, 1, 3}).contiguous();
}

// tril(scale Q K^T ∘ exp(b_t - b_s)), b the running sum of g, divided by scale n_t . q_t + 1e-10 where normalised.
at::Tensor LinearRecurrence::closed_pattern(const RecurrenceInput& in, const at::Tensor& z0) const {
  const int64_t B = in.q.size(0), T = in.positions(), H = in.k.size(2), G = in.q.size(2) / H, K = in.k.size(3);
  at::Tensor q = in.q.reshape({B, T, H, G, K}).permute({0, 2, 3, 1, 4});   // [batch, head, group, pos, d_k]
  at::Tensor k = in.k.permute({0, 2, 3, 1}).unsqueeze(2);
  at::Tensor b;
  if (in.g.defined()) b = in.g.squeeze(-1).to(at::kDouble).clamp_min(-1e4).cumsum(1).transpose(1, 2).unsqueeze(2);
  std::vector<at::Tensor> rows;
  for (int64_t from = 0; from < T; from += kPatternQueries) {
    const int64_t to = std::min(T, from + kPatternQueries);
    at::Tensor queries = q.slice(3, from, to);
    at::Tensor row = at::matmul(queries, k.slice(4, 0, to)) * in.scale;
    if (b.defined()) {
      at::Tensor between = (b.slice(3, from, to).unsqueeze(-1) - b.slice(3, 0, to).unsqueeze(-2)).to(row.scalar_type());
      at::Tensor future = at::ones({to - from, to}, row.options().dtype(at::kBool)).triu(from + 1);
      row = row * between.masked_fill(future, -std::numeric_limits<double>::infinity()).exp();
    } else {
      row = row.tril(from);
    }
    if (z0.defined()) {
      at::Tensor before = at::matmul(queries, z0.unsqueeze(2).unsqueeze(-1)) * in.scale;
      row = row / (row.sum(-1, true) + before + kNormalizerEps);
    }
    rows.push_back(to == T ? row : at::constant_pad_nd(row, {0, T - to}));
  }
  return (rows.size() == 1 ? rows[0] : at::cat(rows, 3)).reshape({B, H * G, T, T});
}

at::Tensor LinearRecurrence::implied(const RecurrenceInput& in, const RecurrentState& before, bool zero_before,
                                     const at::Tensor& z, HookScope& hooks, MixerForm form) const {
  RecurrentState from_zero = before;
  from_zero.S = at::Tensor();
  at::Tensor a = pattern(in, from_zero, form);
  if (in.skip.defined())
    a = a + at::eye(a.size(3), a.options()) * to_heads(in.skip, 0, a.size(1), "the skip").view({1, -1, 1, 1});
  at::Tensor v = to_heads(in.v, 2, in.q.size(2), "v").transpose(1, 2);
  at::Tensor share;                        // what the incoming state alone contributes
  if (!zero_before) {
    RecurrentState alone = before;
    RecurrenceInput silent = in;
    silent.v = at::zeros_like(in.v);
    share = span(form, silent, alone, true);
  }
  return apply_implied(hooks, a, v, share, z, in.steps);
}

}  // namespace microtome::mixers
