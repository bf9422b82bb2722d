#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/memory_layer.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/ttt_linear/forms.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "ttt_linear";

struct Config {
  int64_t d_model, heads, d, mini_batch;
  double base_rate, eps;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{d_model, p.get_int("num_heads"), p.get_int("head_dim"), p.get_int("mini_batch", 16), p.get_float("base_rate", 1.0),
           p.get_float("norm_eps", 1e-6)};
  check_size(kKind, "d_model", d_model, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "head_dim", c.d, 1 << 16);
  check_size(kKind, "mini_batch", c.mini_batch, 1 << 20);
  if (!(c.eps > 0)) throw Error(StatusCode::kBadInput, "norm_eps is not a positive number", "mixer ttt_linear");
  if (!std::isfinite(c.base_rate)) throw Error(StatusCode::kBadInput, "base_rate is not a finite number", "mixer ttt_linear");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = info.d_v = c.d;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "beta"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"};
  const std::vector<int64_t> sizes = {-1, -1, c.heads, c.d};
  info.points = {{"hook_q", by_head, sizes, false, ""},
                 {"hook_k", by_head, sizes, false, ""},
                 {"hook_v", by_head, sizes, false, ""},
                 {"hook_beta", {"batch", "pos", "head"}, {-1, -1, c.heads}, false, "the step's length"},
                 {"hook_state", {"batch", "pos", "head", "d_k", "d_v"}, {-1, -1, c.heads, c.d, c.d}, true,
                  "the weights that a token reads; the next mini-batch starts from its last token's"},
                 {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
                  "over what is written (minus the gradients), not over v"},
                 {"hook_z", values, sizes, false, "before the norm"},
                 {"hook_z_normalized", values, sizes, false, "z + LN(z)"},
                 {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  const int64_t all = c.heads * c.d;
  return {{"q_proj.weight", {all, d_model}}, {"k_proj.weight", {all, d_model}}, {"v_proj.weight", {all, d_model}},
          {"o_proj.weight", {d_model, all}}, {"lr_proj.weight", {c.heads, d_model}}, {"lr_proj.bias", {c.heads}},
          {"W1", {c.heads, c.d, c.d}}, {"b1", {c.heads, 1, c.d}}, {"ttt_norm.weight", {c.heads, c.d}},
          {"ttt_norm.bias", {c.heads, c.d}}};
}

// A[t, s] over u: eta (q_t . k_s + 1), eta that of t within its mini-batch and that of the last token of earlier ones.
// begun: how many tokens of the first mini-batch came before.
at::Tensor ttt_pattern(const TttInput& in, int64_t begun) {
  const int64_t T = in.q.size(2);
  at::Tensor t = at::arange(begun, begun + T, at::TensorOptions().dtype(at::kLong).device(in.q.device()));
  at::Tensor batch = at::floor_divide(t, in.mini_batch);
  at::Tensor last = ((batch + 1) * in.mini_batch - 1 - begun).clamp_max(T - 1);
  at::Tensor same = batch.unsqueeze(1).eq(batch);
  at::Tensor eta = at::where(same, in.eta, in.eta.index_select(2, last).transpose(2, 3));
  return (eta * (at::matmul(in.q, in.k.transpose(2, 3)) + 1)).tril();
}

class TttLinear : public TokenMixer {
 public:
  TttLinear(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "ttt_linear");
    refuse_recurrent_form(run, "ttt_linear");
    auto point = [&](const char* role) {
      at::Tensor x = project_heads(in, role, w_.at(std::string(role) + "_proj.weight"), {}, c_.heads, c_.heads);
      return heads_first(at_least_float32(hooks.apply(std::string("hook_") + role, x)));
    };
    TttInput a;
    a.q = point("q") / std::sqrt(static_cast<double>(c_.d));
    a.k = point("k");
    a.v = point("v");
    at::Tensor rate = project_heads(in, "beta", w_.at("lr_proj.weight"), w_.at("lr_proj.bias"), c_.heads, c_.heads);
    rate = at_least_float32(rate.squeeze(3)).sigmoid() * (c_.base_rate / static_cast<double>(c_.d));
    a.eta = heads_first(hooks.apply("hook_beta", rate).unsqueeze(3));
    const auto type = a.q.scalar_type();
    a.w = w_.at("ttt_norm.weight").to(type).unsqueeze(1);
    a.b = w_.at("ttt_norm.bias").to(type).unsqueeze(1);
    a.mini_batch = c_.mini_batch;
    a.eps = c_.eps;
    TttState s = take(state, a.q);
    const int64_t begun = s.k.size(2);
    const bool naive = run.form == MixerForm::kNaive || hooks.wants("hook_state");
    TttResult r = naive ? ttt_naive(a, s, &hooks) : ttt_chunk(a, s);
    if (state) state->tensors = {{"W", s.W}, {"b", s.bias}, {"k", s.k}, {"u", s.u}};
    if (hooks.wants("hook_pattern")) r.z = apply_pattern(hooks, ttt_pattern(a, begun), r.u, r.z);
    at::Tensor z = heads_first(at_least_float32(hooks.apply("hook_z", heads_first(r.z).to(in.x.scalar_type()))));
    z = heads_first(norm_residual(z, a.w, a.b, c_.eps)).to(in.x.scalar_type());
    return project_out(hooks.apply("hook_z_normalized", z), w_.at("o_proj.weight"), hooks);
  }

 private:
  TttState take(const MixerState* state, const at::Tensor& q) const {
    const int64_t B = q.size(0);
    auto kept = [&](const char* name, at::IntArrayRef shape) { return kept_tensor(state, name, shape, q.options(), kKind); };
    TttState s{kept("W", {B, c_.heads, c_.d, c_.d}), kept("b", {B, c_.heads, 1, c_.d}), kept_tensor(state, "k"),
               kept_tensor(state, "u")};
    if (s.W.defined() && s.bias.defined() && s.k.defined() && s.u.defined()) {
      // The begun mini-batch, as many tokens in both.
      const std::vector<int64_t> begun = {B, c_.heads, s.k.dim() == 4 ? s.k.size(2) : 0, c_.d};
      s.k = kept("k", begun);
      s.u = kept("u", begun);
      return s;
    }
    s.W = w_.at("W1").to(q.scalar_type()).unsqueeze(0).expand({B, c_.heads, c_.d, c_.d});
    s.bias = w_.at("b1").to(q.scalar_type()).unsqueeze(0).expand({B, c_.heads, 1, c_.d});
    s.k = s.u = q.slice(2, 0, 0);
    return s;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
};

// Inputs [batch, pos, head, *], eta [batch, pos, head, 1], w and b [head, d], W0 and b0; states_W after each mini-batch.
MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs given = pattern_op_inputs(request);
  const int64_t B = given.q.size(0), H = given.q.size(1), T = given.q.size(2), D = given.q.size(3);
  at::Tensor w = op_input(request, "w", 2), b = op_input(request, "b", 2), eta = op_input(request, "eta", 4);
  const int64_t n = request.scalars.get_int("mini_batch", 16);
  check_size(kKind, "mini_batch", n, 1 << 20);
  if (given.v.size(3) != D || w.sizes() != at::IntArrayRef({H, D}) || b.sizes() != w.sizes() ||
      eta.sizes() != at::IntArrayRef({B, T, H, 1}))
    throw Error(StatusCode::kBadInput, "v " + c10::str(given.v.sizes()) + ", eta " + c10::str(eta.sizes()) + ", w " +
                c10::str(w.sizes()) + " and b " + c10::str(b.sizes()) + " do not fit q", "mixer ttt_linear");
  TttInput in{given.q * op_scale(request, D), given.k, given.v, heads_first(eta), w.unsqueeze(1), b.unsqueeze(1), n,
              request.scalars.get_float("eps", 1e-6)};
  at::Tensor none = given.q.slice(2, 0, 0);
  TttState s{given.q.new_zeros({B, H, D, D}), given.q.new_zeros({B, H, 1, D}), none, none};
  if (request.inputs.count("W0")) s.W = op_input(request, "W0", 4);
  if (request.inputs.count("b0")) s.bias = op_input(request, "b0", 4);
  std::vector<at::Tensor> z, states;
  for (int64_t from = 0; from < T; from += n) {
    TttInput part = in;
    for (at::Tensor* x : {&part.q, &part.k, &part.v, &part.eta}) *x = x->slice(2, from, std::min(T, from + n));
    z.push_back((request.form == MixerForm::kNaive ? ttt_naive(part, s, nullptr) : ttt_chunk(part, s)).z);
    states.push_back(s.W);
  }
  MixerOpResult out;
  out["o"] = heads_first(norm_residual(at::cat(z, 2), in.w, in.b, in.eps));
  out["W_final"] = s.W;
  out["b_final"] = s.bias;
  if (request.states) out["states_W"] = at::stack(states, 1);
  return out;
}

}  // namespace

void register_ttt_linear(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"ttt"};
  k.paper = "arXiv 2407.04620";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<TttLinear>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_dim", 8_n}, {"mini_batch", 4_n}}),
             make_case("wide_batches", 67, {{"num_heads", 4_n}, {"head_dim", 8_n}, {"mini_batch", 16_n},
                  {"base_rate", 0.5}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
