#include <ATen/ATen.h>


#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/rwkv4/cases.h"
#include "core/mixers/rwkv4/forms.h"
#include "core/mixers/token_shift.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "rwkv4";
// Fewer tokens are taken one by one.
constexpr int64_t kShort = 4;

int64_t read_width(const Params& p, int64_t d_model) {
  check_size(kKind, "d_model", d_model, 1 << 20);
  const int64_t width = p.get_int("width", d_model);
  check_size(kKind, "width", width, 1 << 20);
  return width;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const int64_t n = read_width(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = n;
  info.d_k = info.d_v = 1;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"k", "v", "gate"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 keys = {"batch", "pos", "head", "d_k"}, matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> one = {-1, -1, n, 1}, state = {-1, -1, n, 1, 1};
  info.points = {
      {"hook_k", by_head, one, false, "every channel is a head"},
      {"hook_v", by_head, one, false, "every channel is a head"},
      {"hook_decay", keys, one, false, "log of the decay, a constant of the channel"},
      {"hook_state", matrix, state, true, "1 × 1: the sum of e^k v, scaled by e^-max; the next token is the first to read it"},
      {"hook_state_write", matrix, state, true, "1 × 1, scaled by e^-max"},
      {"hook_state.n", matrix, state, true, "1 × 1: the sum of e^k, scaled by e^-max"},
      {"hook_state.max", matrix, state, true, "1 × 1: the exponent both sums are scaled by"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, n, -1, -1}, true, "a matrix a channel; rows sum to 1"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, n}, true, "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, one, false, "before the gate"},
      {"hook_gate", values, one, false, "the receptance, after its sigmoid"},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, n, d_model}, true, "a channel's own contribution"}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const int64_t n = read_width(p, d_model);
  std::vector<WeightSpec> w;
  for (const char* name : {"key", "value", "receptance"}) {
    w.push_back({std::string(name) + ".weight", {n, d_model}});
    w.push_back({std::string("time_mix_") + name, {1, 1, d_model}});
  }
  w.push_back({"output.weight", {d_model, n}});
  w.push_back({"time_decay", {n}});
  w.push_back({"time_first", {n}});
  return w;
}

MixerForm form_for(MixerForm form, int64_t positions) {
  if (form == MixerForm::kAuto) return positions < kShort ? MixerForm::kNaive : MixerForm::kChunk;
  if (form != MixerForm::kNaive && form != MixerForm::kChunk)
    throw Error(StatusCode::kUnsupported, std::string("mixer rwkv4 has no form '") + form_name(form) + "'", "",
                "use auto, naive or chunk");
  return form;
}

at::Tensor span(const Rwkv4Input& in, Rwkv4State& state, MixerForm form) {
  return form_for(form, in.positions()) == MixerForm::kNaive ? rwkv4_naive(in, state) : rwkv4_chunk(in, state);
}

// The tokens whose state is looked at or changed go one by one, what lies between them as spans.
at::Tensor stepped(const Rwkv4Input& in, Rwkv4State& state, HookScope& hooks, MixerForm form) {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, {"hook_state", "hook_state_write", "hook_state.n", "hook_state.max"}, T);
  std::vector<at::Tensor> z;
  int64_t from = 0;
  for (int64_t t = 0; t <= T; ++t) {
    if (t < T && !stop[static_cast<size_t>(t)]) continue;
    if (t > from) z.push_back(span(in.slice(from, t), state, form));
    from = t + 1;
    if (t == T) break;
    auto at_point = [&](const char* name, const at::Tensor& x) {
      return hooks.apply_at(name, t, x.unsqueeze(2).unsqueeze(3)).squeeze(3).squeeze(2);
    };
    z.push_back(rwkv4_read(in, t, state).unsqueeze(1));
    Rwkv4Write w = rwkv4_write(in, t, state);
    state.num = at_point("hook_state", w.decayed.num + at_point("hook_state_write", w.num));
    state.den = at_point("hook_state.n", w.decayed.den + w.den);
    state.max = at_point("hook_state.max", w.decayed.max);
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

class Rwkv4 : public TokenMixer {
 public:
  Rwkv4(const Params& p, int64_t d_model, WeightMap weights)
      : d_model_(d_model), width_(read_width(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, "rwkv4");
    const TokenShift shift(in, state);
    at::Tensor k = hooks.apply("hook_k", project(shift, "k", "key"));
    at::Tensor v = hooks.apply("hook_v", project(shift, "v", "value"));
    at::Tensor gate = project(shift, "gate", "receptance").sigmoid();
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor g = (-w_.at("time_decay").to(type).exp()).view({1, 1, width_, 1}).expand(k.sizes());
    g = hooks.apply("hook_decay", g);
    const Rwkv4Input r{k.squeeze(3).to(type), v.squeeze(3).to(type), g.squeeze(3).to(type), w_.at("time_first").to(type)};

    Rwkv4State s = incoming(state, r.k);
    const Rwkv4State before = s;
    bool states = false;
    for (const char* p : {"hook_state", "hook_state_write", "hook_state.n", "hook_state.max"}) states = states || hooks.wants(p);
    at::Tensor z = states ? stepped(r, s, hooks, run.form) : span(r, s, run.form);
    if (hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual")) z = implied(r, before, z, hooks);
    if (state) {
      state->tensors["S"] = s.num.unsqueeze(2).unsqueeze(3);
      state->tensors["n"] = s.den.unsqueeze(2).unsqueeze(3);
      state->tensors["max"] = s.max.unsqueeze(2).unsqueeze(3);
    }
    shift.keep(state);
    z = only_read(z, run);
    gate = only_read(gate, run);
    z = hooks.apply("hook_z", z.to(in.x.scalar_type()).unsqueeze(3));
    return project_out(z * hooks.apply("hook_gate", gate), w_.at("output.weight"), hooks);
  }

 private:
  // x w + x' (1 - w), x' the input one position earlier.
  at::Tensor project(const TokenShift& shift, const char* role, const std::string& name) const {
    const at::Tensor w = w_.at("time_mix_" + name).flatten();
    MixerInput mixed = shift.mixed(role, [&](const at::Tensor& x, const at::Tensor& earlier) {
      return x * w + earlier * (1 - w);
    });
    return project_heads(mixed, role, w_.at(name + ".weight"), {}, width_, width_);
  }

  Rwkv4State incoming(const MixerState* state, const at::Tensor& like) const {
    Rwkv4State s = Rwkv4State::empty(like.size(0), like);
    if (!state || !state->tensors.count("S")) return s;
    for (auto [name, part] : {std::pair{"S", &s.num}, {"n", &s.den}, {"max", &s.max}}) {
      auto it = state->tensors.find(name);
      if (it == state->tensors.end() || it->second.numel() != part->numel() || it->second.size(0) != part->size(0))
        throw Error(StatusCode::kBadInput, std::string("the incoming state '") + name + "' is absent or does not fit " +
                                               c10::str(part->sizes()), "mixer rwkv4");
      *part = it->second.to(like.options()).view(part->sizes());
    }
    return s;
  }

  at::Tensor implied(const Rwkv4Input& in, const Rwkv4State& before, const at::Tensor& z, HookScope& hooks) const {
    const Rwkv4Pattern p = rwkv4_pattern(in, before);
    // Every channel is a head of one channel.
    at::Tensor v = in.v.transpose(1, 2).unsqueeze(3);          // [batch, channel, pos, 1]
    return apply_implied(hooks, p.a, v, p.share.unsqueeze(3), z.unsqueeze(3)).squeeze(3);
  }

  int64_t d_model_, width_;
  MixerInfo info_;
  WeightMap w_;
};

// k, v [batch, pos, channel], time_decay (raw: the log decay is -exp of it) and u [channel], initial_state [3, batch,
// channel] → o, final_state, and on request states [batch, pos, 3, channel] and A [batch, channel, q_pos, k_pos].
MixerOpResult rwkv4_op(const MixerOpRequest& request) {
  const at::Tensor k = op_input(request, "k", 3), v = op_input(request, "v", 3), decay = op_input(request, "time_decay", 1),
                   u = op_input(request, "u", 1);
  const int64_t B = k.size(0), n = k.size(2);
  if (v.sizes() != k.sizes() || decay.size(0) != n || u.size(0) != n)
    throw Error(StatusCode::kBadInput, "v, time_decay and u do not fit k's shape " + c10::str(k.sizes()));
  const Rwkv4Input in{k, v, (-decay.exp()).expand(k.sizes()), u};
  Rwkv4State before = Rwkv4State::empty(B, k);
  if (request.inputs.count("initial_state")) {
    const at::Tensor given = op_input(request, "initial_state", 3);
    if (given.size(0) != 3 || given.size(1) != B || given.size(2) != n)
      throw Error(StatusCode::kBadInput, "input 'initial_state' has shape " + c10::str(given.sizes()) + ", expected [3, " +
                                             std::to_string(B) + ", " + std::to_string(n) + "]");
    before = {given[0], given[1], given[2]};
  }
  auto stack = [](const Rwkv4State& s, int64_t axis) { return at::stack({s.num, s.den, s.max}, axis); };
  MixerOpResult out;
  Rwkv4State after = before;
  out["o"] = span(in, after, request.form);
  out["final_state"] = stack(after, 0);
  if (request.states) {
    std::vector<at::Tensor> all;
    Rwkv4State s = before;
    for (int64_t t = 0; t < in.positions(); ++t) {
      rwkv4_naive(in.slice(t, t + 1), s);
      all.push_back(stack(s, 1));
    }
    out["states"] = at::stack(all, 1);
  }
  if (request.implied) out["A"] = rwkv4_pattern(in, before).a;
  return out;
}

}  // namespace

void register_rwkv4(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2305.13048";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Rwkv4>(p, d_model, std::move(w));
  };
  k.op = rwkv4_op;
  k.cases = rwkv4_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
