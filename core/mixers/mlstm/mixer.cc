#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/mlstm/cases.h"
#include "core/mixers/mlstm/forms.h"
#include "core/mixers/mlstm/op.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "mlstm";
const std::vector<std::string> kStatePoints = {"hook_state", "hook_state_write", "hook_state.n", "hook_state.max"};

struct Shape {
  int64_t heads, K, V;
  double cap, eps, norm_eps;
  bool bias;
};

Shape read_shape(const Params& p, int64_t d_model) {
  check_size(kKind, "d_model", d_model, 1 << 20);
  Shape s{p.get_int("num_heads"), p.get_int("head_k"), p.get_int("head_v"), p.get_float("gate_soft_cap", 15),
          p.get_float("eps", 1e-6), p.get_float("norm_eps", 1e-6), p.get_bool("bias", false)};
  check_size(kKind, "num_heads", s.heads, 1 << 16);
  check_size(kKind, "head_k", s.K, 1 << 20);
  check_size(kKind, "head_v", s.V, 1 << 20);
  auto positive = [&](const char* name, double value, bool zero) {
    if (!std::isfinite(value) || value < 0 || (!zero && value == 0))
      throw Error(StatusCode::kBadInput, std::string(name) + " is " + std::to_string(value) + ", expected a number " +
                                             (zero ? "of at least 0" : "above 0"), "mixer mlstm");
  };
  positive("gate_soft_cap", s.cap, true);
  positive("eps", s.eps, true);
  positive("norm_eps", s.norm_eps, false);
  return s;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = s.heads;
  info.d_k = s.K;
  info.d_v = s.V;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "beta", "decay", "gate"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 keys = {"batch", "pos", "head", "d_k"}, matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> as_k = {-1, -1, s.heads, s.K}, as_v = {-1, -1, s.heads, s.V},
                             state = {-1, -1, s.heads, s.K, s.V}, one = {-1, -1, s.heads};
  info.points = {
      {"hook_q", by_head, as_k, false, ""},
      {"hook_k", by_head, as_k, false, ""},
      {"hook_v", by_head, as_v, false, ""},
      {"hook_decay", keys, {-1, -1, s.heads, 1}, false, "log of the forget gate"},
      {"hook_input_gate", {"batch", "pos", "head"}, one, false, "its logit: the write is e^ of it strong"},
      {"hook_state", matrix, state, true, "scaled by e^-max"},
      {"hook_state_write", matrix, state, true, "scaled by e^-max"},
      {"hook_state.n", keys, as_k, true, "the sum of keys, scaled by e^-max"},
      {"hook_state.max", {"batch", "pos", "head"}, one, true, "the exponent that state and n are scaled by"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, s.heads, -1, -1}, true,
       "the matrix the recurrence amounts to; may be negative, rows need not sum to 1"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, s.heads}, true,
       "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, as_v, false, "before norm and gate"},
      {"hook_z_normalized", values, as_v, false, ""},
      {"hook_gate", values, as_v, false, "after its sigmoid"},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, s.heads, d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  std::vector<WeightSpec> w;
  auto linear = [&](const char* name, int64_t out, int64_t in, bool bias) {
    w.push_back({std::string(name) + ".weight", {out, in}});
    if (bias) w.push_back({std::string(name) + ".bias", {out}});
  };
  linear("q", s.heads * s.K, d_model, s.bias);
  linear("k", s.heads * s.K, d_model, s.bias);
  linear("v", s.heads * s.V, d_model, s.bias);
  linear("ogate_preact", s.heads * s.V, d_model, s.bias);
  linear("igate_preact", s.heads, d_model, true);
  linear("fgate_preact", s.heads, d_model, true);
  w.push_back({"multihead_norm.weight", {s.heads * s.V}});
  if (s.bias) w.push_back({"multihead_norm.bias", {s.heads * s.V}});
  linear("out_proj", d_model, s.heads * s.V, s.bias);
  return w;
}

// The tokens whose state is looked at or changed go one by one, what lies between them as spans.
at::Tensor stepped(const MlstmInput& in, MlstmState& state, HookScope& hooks, MixerForm form) {
  const int64_t T = in.positions();
  const std::vector<bool> stop = tokens_wanted(hooks, kStatePoints, T);
  std::vector<at::Tensor> z;
  int64_t from = 0;
  for (int64_t t = 0; t <= T; ++t) {
    if (t < T && !stop[static_cast<size_t>(t)]) continue;
    if (t > from) z.push_back(mlstm_span(in.slice(from, t), state, form));
    from = t + 1;
    if (t == T) break;
    MlstmWrite w = mlstm_write(in, t, state);
    state.C = hooks.apply_at("hook_state", t, w.decayed.C + hooks.apply_at("hook_state_write", t, w.C));
    state.n = hooks.apply_at("hook_state.n", t, w.decayed.n + w.n);
    state.max = hooks.apply_at("hook_state.max", t, w.decayed.max);
    z.push_back(mlstm_read(in, t, state).unsqueeze(1));
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

at::Tensor implied(const MlstmInput& in, const MlstmState& before, const at::Tensor& z, HookScope& hooks) {
  const MlstmPattern p = mlstm_pattern(in, before);
  return apply_implied(hooks, p.a, in.v.transpose(1, 2), p.share.transpose(1, 2), z);
}

class Mlstm : public TokenMixer {
 public:
  Mlstm(const Params& p, int64_t d_model, WeightMap weights)
      : d_model_(d_model), s_(read_shape(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, "mlstm");
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    MlstmInput r;
    r.q = hooks.apply("hook_q", project(in, "q", "q")).to(type);
    r.k = hooks.apply("hook_k", project(in, "k", "k")).to(type);
    r.v = hooks.apply("hook_v", project(in, "v", "v")).to(type);
    r.g = hooks.apply("hook_decay", at::log_sigmoid(capped(in, "decay", "fgate_preact"))).squeeze(3).to(type);
    r.i = hooks.apply("hook_input_gate", capped(in, "beta", "igate_preact").squeeze(3)).to(type);
    r.scale = 1 / std::sqrt(static_cast<double>(s_.K));
    r.eps = s_.eps;
    MlstmState m = incoming(state, r);
    const MlstmState before = m;
    bool states = false;
    for (const std::string& p : kStatePoints) states = states || hooks.wants(p);
    at::Tensor z = states ? stepped(r, m, hooks, run.form) : mlstm_span(r, m, run.form);
    if (hooks.wants("hook_pattern") || hooks.wants("hook_pattern_residual")) z = implied(r, before, z, hooks);
    if (state) {
      state->tensors["S"] = m.C;
      state->tensors["n"] = m.n;
      state->tensors["max"] = m.max;
    }
    at::Tensor gate = project(in, "gate", "ogate_preact").sigmoid();
    z = only_read(z, run);
    gate = only_read(gate, run);
    z = hooks.apply("hook_z", z.to(in.x.scalar_type()));
    at::Tensor y = group_norm(z, w_.at("multihead_norm.weight"), weight_or_none(w_, "multihead_norm.bias"), s_.norm_eps);
    y = hooks.apply("hook_z_normalized", y) * hooks.apply("hook_gate", gate);
    y = project_out(y, w_.at("out_proj.weight"), hooks);
    return s_.bias ? y + w_.at("out_proj.bias") : y;
  }

 private:
  at::Tensor project(const MixerInput& in, const char* role, const std::string& name) const {
    return project_heads(in, role, w_.at(name + ".weight"), weight_or_none(w_, name + ".bias"), s_.heads, s_.heads);
  }
  // A gate's logit c tanh(logit / c): [batch, pos, head, 1].
  at::Tensor capped(const MixerInput& in, const char* role, const std::string& name) const {
    at::Tensor x = at_least_float32(project(in, role, name));
    return s_.cap > 0 ? (x / s_.cap).tanh() * s_.cap : x;
  }
  static MlstmState incoming(const MixerState* state, const MlstmInput& like) {
    MlstmState s = MlstmState::empty(like);
    if (!state || !state->tensors.count("S")) return s;
    for (auto [name, part] : {std::pair{"S", &s.C}, {"n", &s.n}, {"max", &s.max}}) {
      at::Tensor kept = kept_tensor(state, name, part->sizes(), like.k.options(), kKind);
      if (!kept.defined())
        throw Error(StatusCode::kBadInput, std::string("the incoming state has S but no ") + name, "mixer mlstm");
      *part = kept;
    }
    return s;
  }

  int64_t d_model_;
  Shape s_;
  MixerInfo info_;
  WeightMap w_;
};

}  // namespace

void register_mlstm(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"xlstm"};
  k.paper = "arXiv 2405.04517";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Mlstm>(p, d_model, std::move(w));
  };
  k.op = mlstm_op;
  k.cases = mlstm_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
