#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/rwkv6/cases.h"
#include "core/mixers/rwkv6/forms.h"
#include "core/mixers/token_shift.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "rwkv6";
constexpr LinearRecurrence::Kind kRecurrence = {kKind, rwkv6_naive, rwkv6_chunk, /*delta=*/false, /*normalized=*/false,
                                                /*write=*/nullptr, /*reads_before=*/true};

// The five mixes in the order of the weights.
enum Mix { kReceptance, kDecay, kKey, kValue, kGate, kMixes };

struct Config {
  int64_t d_model, heads, head_k, head_v, mix_rank, decay_rank;
  double norm_eps;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{};
  c.d_model = d_model;
  c.heads = p.get_int("num_heads");
  c.head_k = p.get_int("head_k");
  c.head_v = p.get_int("head_v");
  c.mix_rank = p.get_int("mix_rank");
  c.decay_rank = p.get_int("decay_rank");
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  for (auto [name, n] : {std::pair{"d_model", c.d_model}, {"head_k", c.head_k}, {"head_v", c.head_v},
                         {"mix_rank", c.mix_rank}, {"decay_rank", c.decay_rank}})
    check_size(kKind, name, n, 1 << 20);
  c.norm_eps = p.get_float("norm_eps", 1e-5);
  if (!(c.norm_eps > 0)) throw Error(StatusCode::kBadInput, "norm_eps is not a positive number", "mixer rwkv6");
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
  info.inputs = {"q", "k", "v", "decay", "gate"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> k = {-1, -1, c.heads, c.head_k}, v = {-1, -1, c.heads, c.head_v},
                             s = {-1, -1, c.heads, c.head_k, c.head_v};
  info.points = {
      {"hook_q", by_head, k, false, "the receptance r"},
      {"hook_k", by_head, k, false, ""},
      {"hook_v", by_head, v, false, ""},
      {"hook_decay", {"batch", "pos", "head", "d_k"}, k, false, "log of the decay"},
      {"hook_state", matrix, s, true, "after the token is written; the next token is the first to read it"},
      {"hook_state_write", matrix, s, true, "the next token is the first to read it"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
       "the matrix the recurrence amounts to; may be negative, rows need not sum to 1; the bonus on the diagonal"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, c.heads}, true,
       "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, v, false, "before norm and gate"},
      {"hook_z_normalized", values, v, false, "after the norm's gain and bias"},
      {"hook_gate", values, v, false, "after its activation"},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  const int64_t keys = c.heads * c.head_k, values = c.heads * c.head_v;
  return {{"r_proj.linear.weight", {keys, d_model}},
          {"k_proj.linear.weight", {keys, d_model}},
          {"v_proj.linear.weight", {values, d_model}},
          {"g_proj.linear.weight", {values, d_model}},
          {"o_proj.weight", {d_model, values}},
          {"w_proj.linear.lora.0.weight", {c.decay_rank, d_model}},
          {"w_proj.linear.lora.2.weight", {keys, c.decay_rank}},
          {"w_proj.linear.lora.2.bias", {keys}},
          {"x_proj.0.mu", {d_model}},
          {"x_proj.0.linear.weight", {kMixes * c.mix_rank, d_model}},
          {"x_proj.2.weight", {d_model, kMixes * c.mix_rank}},
          {"x_bias", {kMixes, d_model}},
          {"bonus", {c.heads, c.head_k}},
          {"g_norm.weight", {values}},
          {"g_norm.bias", {values}}};
}

at::Tensor tanh_of(const at::Tensor& x) { return at::tanh(x); }

class Rwkv6 : public TokenMixer {
 public:
  Rwkv6(const Params& p, int64_t d_model, WeightMap weights)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)), recurrence_(kRecurrence) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "rwkv6");
    const TokenShift shift(in, state);
    auto project = [&](const char* role, Mix mix, const char* weight) {
      return project_heads(mixed(shift, role, mix), role, w_.at(weight), {}, c_.heads, c_.heads);
    };
    RecurrenceInput r;
    r.q = hooks.apply("hook_q", project("q", kReceptance, "r_proj.linear.weight"));
    r.k = hooks.apply("hook_k", project("k", kKey, "k_proj.linear.weight"));
    r.v = hooks.apply("hook_v", project("v", kValue, "v_proj.linear.weight"));
    at::Tensor raw = project_low_rank(mixed(shift, "decay", kDecay), "decay", w_.at("w_proj.linear.lora.0.weight"),
                                      w_.at("w_proj.linear.lora.2.weight"), w_.at("w_proj.linear.lora.2.bias"),
                                      c_.heads, c_.heads, tanh_of);
    r.g = hooks.apply("hook_decay", -at_least_float32(raw).exp());
    r.u = w_.at("bonus");
    at::Tensor gate = at::silu(project("gate", kGate, "g_proj.linear.weight"));

    RecurrentState s{kept_tensor(state, "S"), {}};
    at::Tensor z = recurrence_.run(r, s, hooks, run).to(in.x.scalar_type());
    if (state) state->tensors["S"] = s.S;
    shift.keep(state);
    z = hooks.apply("hook_z", z);
    gate = only_read(gate, run);
    at::Tensor y = hooks.apply("hook_z_normalized",
                               group_norm(z, w_.at("g_norm.weight"), w_.at("g_norm.bias"), c_.norm_eps));
    return project_out(y * hooks.apply("hook_gate", gate), w_.at("o_proj.weight"), hooks);
  }

 private:
  // How far towards the token before depends on the token itself:
  //   x + (x' - x) ∘ (W2 tanh(W1 (x + (x' - x) ∘ mu)) + bias)
  MixerInput mixed(const TokenShift& shift, const char* role, Mix mix) const {
    const at::Tensor down = w_.at("x_proj.0.linear.weight").narrow(0, mix * c_.mix_rank, c_.mix_rank);
    const at::Tensor up = w_.at("x_proj.2.weight").narrow(1, mix * c_.mix_rank, c_.mix_rank);
    return shift.mixed(role, [&](const at::Tensor& x, const at::Tensor& earlier) {
      at::Tensor delta = earlier - x;
      at::Tensor how = at::linear(at::tanh(at::linear(x + delta * w_.at("x_proj.0.mu"), down)), up);
      return x + delta * (how + w_.at("x_bias").select(0, mix));
    });
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
  LinearRecurrence recurrence_;
};

MixerOpResult rwkv6_op(const MixerOpRequest& request) {
  MixerOpRequest r = request;
  if (!r.scalars.has("scale")) r.scalars.set("scale", 1.0);
  RecurrenceOp op{kRecurrence, "w", true};
  op.u = "u";
  return run_recurrence_op(op, r);
}

}  // namespace

void register_rwkv6(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2404.05892";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Rwkv6>(p, d_model, std::move(w));
  };
  k.op = rwkv6_op;
  k.cases = rwkv6_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
