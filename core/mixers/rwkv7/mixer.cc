#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/rwkv7/cases.h"
#include "core/mixers/rwkv7/forms.h"
#include "core/mixers/token_shift.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "rwkv7";
constexpr const char* kFirstValue = "rwkv7.v";
constexpr LinearRecurrence::Kind kRecurrence = {kKind, dplr_naive, dplr_chunk, /*delta=*/false, /*normalized=*/false,
                                                dplr_write};
const double kSlowest = -std::exp(-0.5);   // no log decay lies below

struct Config {
  int64_t d_model, heads, head_k, head_v, decay_rank, rate_rank, value_rank, gate_rank;
  bool first;                              // of the model: its values are mixed into every later layer's
  bool clamped;                            // unit length as x / max(|x|, 1e-12)
  double norm_eps;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{};
  c.d_model = d_model;
  c.heads = p.get_int("num_heads");
  c.head_k = p.get_int("head_k");
  c.head_v = p.get_int("head_v", c.head_k);
  c.decay_rank = p.get_int("decay_rank");
  c.rate_rank = p.get_int("rate_rank");
  c.value_rank = p.get_int("value_rank");
  c.gate_rank = p.get_int("gate_rank");
  for (auto [name, n] : {std::pair{"d_model", c.d_model}, {"head_k", c.head_k}, {"head_v", c.head_v},
                         {"decay_rank", c.decay_rank}, {"rate_rank", c.rate_rank}, {"value_rank", c.value_rank},
                         {"gate_rank", c.gate_rank}})
    check_size(kKind, name, n, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  if (c.heads * c.head_k != d_model)
    throw Error(StatusCode::kBadInput, "num_heads * head_k is " + std::to_string(c.heads * c.head_k) +
                                           ", expected the model's width " + std::to_string(d_model), "mixer rwkv7");
  c.first = p.get_bool("first", false);
  const std::string unit = p.get_string("unit", "eps");
  if (unit != "eps" && unit != "clamped")
    throw Error(StatusCode::kUnsupported, "unit is '" + unit + "'", "mixer rwkv7", "use eps or clamped");
  c.clamped = unit == "clamped";
  c.norm_eps = p.get_float("norm_eps", 1e-5 * static_cast<double>(c.head_k));
  if (!(c.norm_eps > 0)) throw Error(StatusCode::kBadInput, "norm_eps is not a positive number", "mixer rwkv7");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = c.head_k;
  info.d_v = c.head_v;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "beta", "decay", "gate"};
  (c.first ? info.leaves : info.reads).push_back({kFirstValue, {c.heads, c.head_v}});
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, keys = {"batch", "pos", "head", "d_k"},
                                 values = {"batch", "pos", "head", "d_v"}, matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> k = {-1, -1, c.heads, c.head_k}, v = {-1, -1, c.heads, c.head_v},
                             s = {-1, -1, c.heads, c.head_k, c.head_v};
  info.points = {
      {"hook_q", by_head, k, false, "the receptance r"},
      {"hook_k", by_head, k, false, "the key that is written with"},
      {"hook_v", by_head, v, false, c.first ? "later layers mix it into theirs" : "after the first layer's is mixed in"},
      {"hook_erase_key", by_head, k, false, "finds what is erased; of unit length"},
      {"hook_erase_rate", keys, k, false, "the in-context learning rate a"},
      {"hook_decay", keys, k, false, "log of the decay"},
      {"hook_state", matrix, s, true, ""},
      {"hook_state_write", matrix, s, true, "what is erased and what is written"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
       "the matrix the recurrence amounts to; may be negative, rows need not sum to 1; without the bonus"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, c.heads}, true,
       "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, v, false, "before norm, bonus and gate"},
      {"hook_z_normalized", values, v, false, "after the norm's gain and bias"},
      {"hook_bonus", values, v, false, "the token's own value, added after the norm"},
      {"hook_gate", values, v, false, ""},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  const int64_t keys = c.heads * c.head_k, values = c.heads * c.head_v;
  std::vector<WeightSpec> w = {{"r_proj.weight", {keys, d_model}}, {"k_proj.weight", {keys, d_model}},
                               {"v_proj.weight", {values, d_model}}, {"o_proj.weight", {d_model, values}},
                               {"k_k", {keys}}, {"k_a", {keys}}, {"r_k", {c.heads, c.head_k}},
                               {"g_norm.weight", {values}}, {"g_norm.bias", {values}}};
  for (const char* x : {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"}) w.push_back({x, {1, 1, d_model}});
  auto lora = [&](const std::string& name, int64_t rank, int64_t rows, bool bias) {
    w.push_back({name + ".lora.0.weight", {rank, d_model}});
    w.push_back({name + ".lora.2.weight", {rows, rank}});
    if (bias) w.push_back({name + ".lora.2.bias", {rows}});
  };
  lora("w_lora", c.decay_rank, keys, true);
  lora("a_lora", c.rate_rank, keys, true);
  if (!c.first) lora("v_lora", c.value_rank, values, true);
  lora("g_lora", c.gate_rank, values, false);
  return w;
}

at::Tensor tanh_of(const at::Tensor& x) { return at::tanh(x); }
at::Tensor sigmoid_of(const at::Tensor& x) { return at::sigmoid(x); }

class Rwkv7 : public TokenMixer {
 public:
  Rwkv7(const Params& p, int64_t d_model, WeightMap weights)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)), recurrence_(kRecurrence) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "rwkv7");
    const TokenShift shift(in, state);
    RecurrenceInput r;
    r.q = hooks.apply("hook_q", project(shift, "q", "x_r", "r_proj.weight"));
    at::Tensor k = project(shift, "k", "x_k", "k_proj.weight");
    at::Tensor rate = hooks.apply("hook_erase_rate", low_rank(shift, "beta", "x_a", "a_lora").sigmoid());
    at::Tensor erase = hooks.apply("hook_erase_key", unit(k * by_head("k_k")));
    r.k = hooks.apply("hook_k", k + k * (rate - 1) * by_head("k_a"));
    r.v = hooks.apply("hook_v", value(in, shift));
    if (c_.first && in.shared) (*in.shared)[kFirstValue] = r.v;
    r.g = hooks.apply("hook_decay", at_least_float32(low_rank(shift, "decay", "x_w", "w_lora", tanh_of)).sigmoid() * kSlowest);
    r.a = -erase;
    r.b = erase * rate;
    at::Tensor gate = low_rank(shift, "gate", "x_g", "g_lora", sigmoid_of);

    RecurrentState s{kept_tensor(state, "S"), {}};
    at::Tensor z = recurrence_.run(r, s, hooks, run).to(in.x.scalar_type());
    if (state) state->tensors["S"] = s.S;
    shift.keep(state);
    z = hooks.apply("hook_z", z);
    for (at::Tensor* t : {&r.q, &r.k, &r.v, &gate}) *t = only_read(*t, run);
    at::Tensor y = hooks.apply("hook_z_normalized",
                               group_norm(z, w_.at("g_norm.weight"), w_.at("g_norm.bias"), c_.norm_eps));
    at::Tensor bonus = hooks.apply("hook_bonus", (r.q * r.k * w_.at("r_k")).sum(-1, true) * r.v);
    return project_out((y + bonus) * hooks.apply("hook_gate", gate), w_.at("o_proj.weight"), hooks);
  }

  void leave(const MixerInput& in, MixerState* state) const override {
    if (!c_.first || !in.shared) return;
    const TokenShift shift(in, state);
    (*in.shared)[kFirstValue] = value(in, shift);
    shift.keep(state);
  }

 private:
  at::Tensor by_head(const char* name) const { return w_.at(name).view({c_.heads, c_.head_k}); }

  at::Tensor project(const TokenShift& shift, const char* role, const char* mix, const char* weight) const {
    return project_heads(shift.mixed(role, w_.at(mix)), role, w_.at(weight), {}, c_.heads, c_.heads);
  }

  at::Tensor low_rank(const TokenShift& shift, const char* role, const char* mix, const std::string& name,
                      at::Tensor (*act)(const at::Tensor&) = nullptr) const {
    return project_low_rank(shift.mixed(role, w_.at(mix)), role, w_.at(name + ".lora.0.weight"),
                            w_.at(name + ".lora.2.weight"), weight_or_none(w_, name + ".lora.2.bias"), c_.heads,
                            c_.heads, act);
  }

  at::Tensor unit(const at::Tensor& x) const {
    if (!c_.clamped) return l2_norm(x);
    at::Tensor y = at_least_float32(x);
    return (y / y.square().sum(-1, true).sqrt().clamp_min(1e-12)).to(x.scalar_type());
  }

  // v, drawn towards the first layer's by a rate of its own.
  at::Tensor value(const MixerInput& in, const TokenShift& shift) const {
    at::Tensor v = project(shift, "v", "x_v", "v_proj.weight");
    if (c_.first) return v;
    auto it = in.shared ? in.shared->find(kFirstValue) : SharedValues::iterator{};
    if (!in.shared || it == in.shared->end() || it->second.sizes() != v.sizes())
      throw Error(StatusCode::kInternal, "the first layer's values are not at hand", "mixer rwkv7");
    at::Tensor mix = low_rank(shift, "v", "x_v", "v_lora").sigmoid();
    return v + (it->second - v) * mix;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
  LinearRecurrence recurrence_;
};

// The op on RWKV-7's own inputs (kk, a, log decay w), or on the general a, b and gk of a transition that is diagonal plus
// low rank.
MixerOpResult rwkv7_op(const MixerOpRequest& request) {
  MixerOpRequest r = request;
  if (request.inputs.count("kk")) {
    const at::Tensor kk = op_input(request, "kk", 4), rate = op_input(request, "a", 4);
    if (kk.sizes() != rate.sizes())
      throw Error(StatusCode::kBadInput, "input 'a' has shape " + c10::str(rate.sizes()) + ", expected that of 'kk', " +
                                             c10::str(kk.sizes()));
    r.inputs["a"] = -kk;
    r.inputs["b"] = kk * rate;
    r.inputs["gk"] = op_input(request, "w", 4);
    if (!r.scalars.has("scale")) r.scalars.set("scale", 1.0);
  }
  RecurrenceOp op{kRecurrence, "gk", true};
  op.a = "a";
  op.b = "b";
  return run_recurrence_op(op, r);
}

}  // namespace

void register_rwkv7(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"dplr_delta_rule"};
  k.paper = "arXiv 2503.14456";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Rwkv7>(p, d_model, std::move(w));
  };
  k.op = rwkv7_op;
  k.cases = rwkv7_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
