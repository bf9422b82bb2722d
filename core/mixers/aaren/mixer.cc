#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/abc/forms.h"
#include "core/mixers/case_list.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "aaren";
// The mean of the values weighted by exp(q . k_s), as a recurrence of one row a head.
constexpr LinearRecurrence::Kind kRecurrence = {"aaren", gla_naive, gla_chunk};

struct Config {
  int64_t d_model, heads, head_k, head_v;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{d_model, p.get_int("num_heads"), p.get_int("head_k"), p.get_int("head_v")};
  check_size(kKind, "d_model", d_model, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "head_k", c.head_k, 1 << 20);
  check_size(kKind, "head_v", c.head_v, 1 << 20);
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = 1;
  info.d_v = c.head_v;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"k", "v"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  const std::vector<std::string> matrix = {"batch", "pos", "head", "d_k", "d_v"};
  info.points = {
      {"hook_k", by_head, {-1, -1, c.heads, c.head_k}, false, ""},
      {"hook_v", by_head, {-1, -1, c.heads, c.head_v}, false, ""},
      {"hook_logits", {"batch", "pos", "head"}, {-1, -1, c.heads}, false, "q . k, the same for all later positions"},
      {"hook_state", matrix, {-1, -1, c.heads, 1, c.head_v}, true, "the mean itself"},
      {"hook_state_write", matrix, {-1, -1, c.heads, 1, c.head_v}, true, ""},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true, ""},
      {"hook_pattern_residual", {"batch", "head"}, {-1, c.heads}, true,
       "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v}, false, ""},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  return {{"query", {c.heads, c.head_k}},
          {"k_proj.weight", {c.heads * c.head_k, d_model}},
          {"v_proj.weight", {c.heads * c.head_v, d_model}},
          {"o_proj.weight", {d_model, c.heads * c.head_v}}};
}

// logits [batch, pos, head] → the recurrence's input but for v; lse as in abc.
RecurrenceInput one_row(const at::Tensor& logits, at::Tensor& lse, MixerForm form) {
  at::Tensor l = logits.unsqueeze(-1);
  AbcGates a = form == MixerForm::kNaive ? abc_gates_naive(l, lse) : abc_gates_chunk(l, lse);
  RecurrenceInput r;
  r.q = at::ones_like(l);
  r.k = a.s;
  r.g = a.g;
  r.scale = 1;
  return r;
}

class Aaren : public TokenMixer {
 public:
  Aaren(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)), recurrence_(kRecurrence) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "aaren");
    at::Tensor k = hooks.apply("hook_k", project_heads(in, "k", w_.at("k_proj.weight"), {}, c_.heads, c_.heads));
    at::Tensor v = hooks.apply("hook_v", project_heads(in, "v", w_.at("v_proj.weight"), {}, c_.heads, c_.heads));
    k = at_least_float32(k);
    at::Tensor logits = (k * w_.at("query").to(k.scalar_type())).sum(-1) / std::sqrt(static_cast<double>(c_.head_k));
    logits = hooks.apply("hook_logits", logits);
    at::Tensor lse = kept_tensor(state, "lse", {logits.size(0), c_.heads, 1}, logits.options(), kKind);
    RecurrenceInput r = one_row(logits, lse, run.form);
    r.v = at_least_float32(v);
    RecurrentState s{kept_tensor(state, "S"), {}};
    at::Tensor z = recurrence_.run(r, s, hooks, run).to(in.x.scalar_type());
    if (state) {
      state->tensors["S"] = s.S;
      state->tensors["lse"] = lse;
    }
    return project_out(hooks.apply("hook_z", z), w_.at("o_proj.weight"), hooks);
  }

 private:
  Config c_;
  MixerInfo info_;
  WeightMap w_;
  LinearRecurrence recurrence_;
};

// q [head, d_k], k, v → o; m, u, w as the paper carries them: the largest logit, and the sums of exp(logit - m) and of
// exp(logit - m) v.
MixerOpResult op(const MixerOpRequest& request) {
  at::Tensor q = op_input(request, "q", 2), k = op_input(request, "k", 4), v = op_input(request, "v", 4);
  if (k.sizes().slice(0, 3) != v.sizes().slice(0, 3) || q.sizes() != k.sizes().slice(2))
    throw Error(StatusCode::kBadInput, "q " + c10::str(q.sizes()) + ", k " + c10::str(k.sizes()) + " and v " +
                                           c10::str(v.sizes()) + " do not fit together");
  at::Tensor logits = (k * q).sum(-1) * request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(q.size(1))));
  at::Tensor lse, m = std::get<0>(at::cummax(logits, 1)), u = (at::logcumsumexp(logits, 1) - m).exp();
  RecurrenceInput r = one_row(logits, lse, request.form);
  r.v = v;
  LinearRecurrence recurrence(kRecurrence);
  RecurrentState s;
  HookScope nothing;
  MixerRun run;
  run.form = request.form;
  MixerOpResult out;
  out["o"] = recurrence.run(r, s, nothing, run);
  out["m"] = m;
  out["u"] = u;
  out["w"] = out["o"] * u.unsqueeze(-1);
  if (request.implied) out["A"] = recurrence.pattern(r, {}, request.form);
  return out;
}

}  // namespace

void register_aaren(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2405.13956";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Aaren>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
             make_case("long", 67, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
