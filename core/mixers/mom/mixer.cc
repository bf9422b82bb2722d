#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/gated_delta_rule/forms.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/mom/cases.h"
#include "core/mixers/mom/routing.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "mom";
constexpr LinearRecurrence::Kind kRecurrence = {kKind, gated_delta_rule_naive, gated_delta_rule_chunk, /*delta=*/true};
constexpr const char* kRoles[3] = {"q", "k", "v"};

struct Shape {
  int64_t heads, K, V, routed, topk, conv;
  bool shared, gate;
  double norm_eps;
  int64_t memories() const { return routed + (shared ? 1 : 0); }
  int64_t states() const { return memories() * heads; }    // memory m of head h is m * heads + h, the shared one last
};

Shape read_shape(const Params& p, int64_t d_model) {
  check_size(kKind, "d_model", d_model, 1 << 20);
  Shape s{p.get_int("num_heads"),        p.get_int("head_k"),       p.get_int("head_v"),
          p.get_int("num_memories", 4),  p.get_int("topk", 2),      p.get_int("conv_size", 4),
          p.get_bool("shared_mem", true), p.get_bool("use_output_gate", true), p.get_float("norm_eps", 1e-5)};
  check_size(kKind, "num_heads", s.heads, 1 << 12);
  check_size(kKind, "head_k", s.K, 1 << 20);
  check_size(kKind, "head_v", s.V, 1 << 20);
  check_size(kKind, "num_memories", s.routed, 1 << 12);
  check_size(kKind, "topk", s.topk, s.routed);
  check_size(kKind, "conv_size", s.conv, 1 << 12);
  if (s.conv < 2)
    throw Error(StatusCode::kBadInput, "conv_size is 1, expected 2 or more", "mixer mom");
  if (!(s.norm_eps > 0) || !std::isfinite(s.norm_eps))
    throw Error(StatusCode::kBadInput, "norm_eps is " + std::to_string(s.norm_eps) + ", expected a positive number",
                "mixer mom");
  return s;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = s.heads;
  info.kv_heads = s.states();
  info.d_k = s.K;
  info.d_v = s.V;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "beta", "decay"};
  if (s.gate) info.inputs.push_back("gate");
  const int64_t n = s.states();
  const std::string by = "memory m of head h is m * " + std::to_string(s.heads) + " + h" +
                         (s.shared ? ", the shared one last" : "");
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 matrix = {"batch", "pos", "head", "d_k", "d_v"};
  info.points = {
      {"hook_router_logits", {"batch", "pos", "expert"}, {-1, -1, s.routed}, false, "one a memory"},
      {"hook_memory_weights", {"batch", "pos", "expert"}, {-1, -1, s.memories()}, false,
       "what each memory's read-out counts; 0 where the token is not routed to it"},
      {"hook_q_pre_conv", by_head, {-1, -1, s.heads, s.K}, false, "one for all memories"},
      {"hook_k_pre_conv", by_head, {-1, -1, n, s.K}, false, by},
      {"hook_v_pre_conv", by_head, {-1, -1, n, s.V}, false, by},
      {"hook_q", by_head, {-1, -1, n, s.K}, false, by},
      {"hook_k", by_head, {-1, -1, n, s.K}, false, by},
      {"hook_v", by_head, {-1, -1, n, s.V}, false, by},
      {"hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, n, 1}, false, "log of the decay; " + by},
      {"hook_beta", {"batch", "pos", "head"}, {-1, -1, n}, false, by},
      {"hook_state", matrix, {-1, -1, n, s.K, s.V}, true, by},
      {"hook_state_write", matrix, {-1, -1, n, s.K, s.V}, true, by},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, n, -1, -1}, true,
       "a matrix a memory, before its weight; " + by},
      {"hook_pattern_residual", {"batch", "head"}, {-1, n}, true, "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z_memory", values, {-1, -1, n, s.V}, false, "each memory's read-out, before its weight; " + by},
      {"hook_z", values, {-1, -1, s.heads, s.V}, false, "the weighted sum over memories, before norm and gate"},
      {"hook_z_normalized", values, {-1, -1, s.heads, s.V}, false, ""}};
  if (s.gate) info.points.push_back({"hook_gate", values, {-1, -1, s.heads, s.V}, false, "after its activation"});
  info.points.push_back({"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, s.heads, d_model}, true, ""});
  return info;
}

// Of memory m: "k_proj.0.weight" … and "shared_k.weight".
std::string memory_weight(const Shape& s, const std::string& letter, int64_t m) {
  return m == s.routed ? "shared_" + letter + ".weight" : letter + "_proj." + std::to_string(m) + ".weight";
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  const int64_t keys = s.heads * s.K, values = s.heads * s.V;
  std::vector<WeightSpec> w = {{"q_proj.weight", {keys, d_model}}, {"gate.weight", {s.routed, d_model}}};
  for (int64_t m = 0; m < s.memories(); ++m) {
    w.push_back({memory_weight(s, "k", m), {keys, d_model}});
    w.push_back({memory_weight(s, "v", m), {values, d_model}});
    w.push_back({memory_weight(s, "a", m), {s.heads, d_model}});
    w.push_back({memory_weight(s, "b", m), {s.heads, d_model}});
  }
  w.push_back({"A_log", {s.heads}});
  w.push_back({"dt_bias", {s.heads}});
  w.push_back({"q_conv1d.weight", {keys, 1, s.conv}});
  w.push_back({"k_conv1d.weight", {keys, 1, s.conv}});
  w.push_back({"v_conv1d.weight", {values, 1, s.conv}});
  if (s.gate) w.push_back({"g_proj.weight", {values, d_model}});
  w.push_back({"o_norm.weight", {s.V}});
  w.push_back({"o_proj.weight", {d_model, values}});
  return w;
}

class MixtureOfMemories : public TokenMixer {
 public:
  MixtureOfMemories(const Params& p, int64_t d_model, WeightMap weights)
      : d_model_(d_model), s_(read_shape(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)),
        recurrence_(kRecurrence) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, "mom");
    at::Tensor logits = hooks.apply("hook_router_logits", at::linear(in.x, w_.at("gate.weight")));
    const Routing routing = route(logits, s_.topk, s_.shared);
    at::Tensor weights = hooks.apply("hook_memory_weights", routing.weight);
    RecurrenceInput r = convolved(in, routing, state, hooks);
    // A token that a memory does not see leaves it as it was: no decay and no write.
    at::Tensor seen = routing.mask.repeat_interleave(s_.heads, 2);
    r.g = hooks.apply("hook_decay", (log_decay(in) * seen).unsqueeze(3));
    r.beta = hooks.apply("hook_beta", by_memory(in, "beta", "b").squeeze(3).sigmoid() * seen);
    r.scale = 1 / std::sqrt(static_cast<double>(s_.K));
    RecurrentState S{kept_tensor(state, "S"), {}};
    at::Tensor z = recurrence_.run(r, S, hooks, run);
    if (state) state->tensors["S"] = S.S;
    at::Tensor gate;
    if (s_.gate) gate = at::silu(project_heads(in, "gate", w_.at("g_proj.weight"), {}, s_.heads, s_.heads));
    weights = only_read(weights, run);
    if (gate.defined()) gate = only_read(gate, run);
    z = hooks.apply("hook_z_memory", z).unflatten(2, {s_.memories(), s_.heads});
    z = (z * weights.to(z.scalar_type()).unsqueeze(3).unsqueeze(4)).sum(2).to(in.x.scalar_type());
    at::Tensor y = rms_norm(hooks.apply("hook_z", z), w_.at("o_norm.weight"), s_.norm_eps);
    y = hooks.apply("hook_z_normalized", y);
    if (gate.defined()) y = y * hooks.apply("hook_gate", gate);
    return project_out(y, w_.at("o_proj.weight"), hooks);
  }

 private:
  // A role's projection in every memory: [batch, pos, memory * head, width].
  at::Tensor by_memory(const MixerInput& in, const char* role, const std::string& letter) const {
    std::vector<at::Tensor> parts;
    for (int64_t m = 0; m < s_.memories(); ++m)
      parts.push_back(project_heads(in, role, w_.at(memory_weight(s_, letter, m)), {}, s_.heads, s_.heads));
    at::Tensor all = at::cat(parts, 2);
    return letter == "a" || letter == "b" ? at_least_float32(all) : all;
  }
  at::Tensor log_decay(const MixerInput& in) const {
    auto repeated = [&](const char* name) { return at_least_float32(w_.at(name)).repeat({s_.memories()}); };
    return -repeated("A_log").exp() * at::softplus(by_memory(in, "decay", "a").squeeze(3) + repeated("dt_bias"));
  }
  // q, k and v of every memory, behind its own short convolution.
  RecurrenceInput convolved(const MixerInput& in, const Routing& routing, MixerState* state, HookScope& hooks) const {
    const int64_t B = in.x.size(0), T = in.x.size(1), M = s_.memories();
    at::Tensor q = project_heads(in, "q", w_.at("q_proj.weight"), {}, s_.heads, s_.heads);
    at::Tensor qkv[3] = {q, by_memory(in, "k", "k"), by_memory(in, "v", "v")};
    for (int i = 0; i < 3; ++i) {
      const std::string role = kRoles[i];
      at::Tensor x = hooks.apply("hook_" + role + "_pre_conv", qkv[i]);
      const int64_t width = x.size(3);
      x = i == 0 ? x.flatten(2).unsqueeze(2).expand({B, T, M, s_.heads * width}) : x.reshape({B, T, M, s_.heads * width});
      at::Tensor window = kept_tensor(state, "conv_" + role, {B, s_.conv - 1, M * s_.heads * width}, x.options(), kKind);
      at::Tensor y = convolve_routed(x, routing.mask, w_.at(role + "_conv1d.weight"), window);
      if (state) state->tensors["conv_" + role] = window;
      qkv[i] = y.reshape({B, T, M * s_.heads, width});
    }
    RecurrenceInput r;
    r.q = hooks.apply("hook_q", l2_norm(qkv[0]));
    r.k = hooks.apply("hook_k", l2_norm(qkv[1]));
    r.v = hooks.apply("hook_v", qkv[2]);
    return r;
  }

  int64_t d_model_;
  Shape s_;
  MixerInfo info_;
  WeightMap w_;
  LinearRecurrence recurrence_;
};

MixerOpResult no_op(const MixerOpRequest&) {
  throw Error(StatusCode::kUnsupported, "a mixture of memories has no op of its own", kKind,
              "use gated_delta_rule on the tokens of one memory");
}

}  // namespace

void register_mom(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"mixture_of_memories"};
  k.paper = "arXiv 2502.13685";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<MixtureOfMemories>(p, d_model, std::move(w));
  };
  k.op = no_op;
  k.cases = mom_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
