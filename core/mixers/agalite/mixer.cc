#include <ATen/ATen.h>

#include "core/mixers/agalite/forms.h"
#include "core/mixers/case_list.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/memory_layer.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "agalite";

struct Config {
  int64_t d_model, heads, d, eta, r;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{d_model, p.get_int("num_heads"), p.get_int("head_dim"), p.get_int("eta", 4), p.get_int("rank", 8)};
  check_size(kKind, "d_model", d_model, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "head_dim", c.d, 1 << 16);
  check_size(kKind, "eta", c.eta, 1 << 10);
  check_size(kKind, "rank", c.r, 1 << 16);
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = c.r;
  info.d_v = c.d;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "beta", "decay"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  const std::vector<int64_t> mapped = {-1, -1, c.heads, c.eta * c.d}, sizes = {-1, -1, c.heads, c.d};
  info.points = {{"hook_q", by_head, mapped, false, "after its map"},
                 {"hook_k", by_head, mapped, false, "after its map"},
                 {"hook_v", by_head, sizes, false, ""},
                 {"hook_gamma", by_head, mapped, false, "gate of the keys"},
                 {"hook_beta", by_head, sizes, false, "gate of the values"},
                 {"hook_state", {"batch", "pos", "head", "d_k", "d_v"}, {-1, -1, c.heads, c.r, c.d}, true,
                  "the factors of the values, a row a frequency"},
                 {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
                  "mean over the channels of v, which decay each by its own gate"},
                 {"hook_z", {"batch", "pos", "head", "d_v"}, sizes, false, ""},
                 {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  std::vector<WeightSpec> w;
  for (const char* name : {"q_proj", "k_proj", "v_proj", "beta_proj", "gamma_proj"})
    w.push_back({std::string(name) + ".weight", {c.heads * c.d, d_model}});
  for (const char* name : {"p1_proj", "p2_proj", "p3_proj"})
    w.push_back({std::string(name) + ".weight", {c.heads * c.eta, d_model}});
  w.push_back({"o_proj.weight", {d_model, c.heads * c.d}});
  return w;
}

class Agalite : public TokenMixer {
 public:
  Agalite(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "agalite");
    refuse_recurrent_form(run, "agalite");
    auto project = [&](const char* role, const char* name) {
      return at_least_float32(project_heads(in, role, w_.at(std::string(name) + "_proj.weight"), {}, c_.heads, c_.heads));
    };
    // A head's features read its own input, where one is given: p1 belongs to k, p2 to q, p3 to the gate.
    AgaliteInput a;
    a.q = hooks.apply("hook_q", agalite_map(project("q", "q"), project("q", "p2")));
    a.k = hooks.apply("hook_k", agalite_map(project("k", "k"), project("k", "p1")));
    a.v = hooks.apply("hook_v", project("v", "v"));
    at::Tensor gamma = project("decay", "p3").sigmoid().unsqueeze(-1) * project("decay", "gamma").sigmoid().unsqueeze(-2);
    a.gamma = hooks.apply("hook_gamma", gamma.flatten(-2));
    a.beta = hooks.apply("hook_beta", project("beta", "beta").sigmoid());
    a.wave = agalite_wave(static_cast<double>(hooks.first_pos()) + 2, a.q.size(1), c_.r, a.q);
    AgaliteState s = take(state, a.q);
    // The scans take logarithms of 1 - gate, which a changed gate may not have.
    const bool naive = run.form == MixerForm::kNaive || hooks.wants("hook_state") || hooks.changes("hook_beta") ||
                       hooks.changes("hook_gamma");
    AgaliteResult r = naive ? agalite_naive(a, s, &hooks) : agalite_chunk(a, s);
    if (state) state->tensors = {{"K", s.K}, {"V", s.V}, {"s", s.s}};
    if (hooks.wants("hook_pattern"))
      r.o = heads_first(apply_pattern(hooks, agalite_pattern(a, r), heads_first(a.v), heads_first(r.o)));
    return project_out(hooks.apply("hook_z", r.o.to(in.x.scalar_type())), w_.at("o_proj.weight"), hooks);
  }

 private:
  AgaliteState take(const MixerState* state, const at::Tensor& like) const {
    const int64_t B = like.size(0);
    AgaliteState s{like.new_zeros({B, c_.r, c_.heads, c_.eta * c_.d}), like.new_zeros({B, c_.r, c_.heads, c_.d}),
                   like.new_zeros({B, c_.heads, c_.eta * c_.d})};
    for (auto [name, part] : {std::pair{"K", &s.K}, {"V", &s.V}, {"s", &s.s}})
      if (at::Tensor kept = kept_tensor(state, name, part->sizes(), like.options(), kKind); kept.defined()) *part = kept;
    return s;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
};

// One sequence: inputs [pos, head, *], before their maps; scalars r, eta, tick0.
MixerOpResult op(const MixerOpRequest& request) {
  auto input = [&](const char* name) { return op_input(request, name, 3).unsqueeze(0); };
  at::Tensor q = input("q"), k = input("k"), v = input("v"), beta = input("beta_raw"), gamma = input("gamma_raw");
  at::Tensor p1 = input("p1"), p2 = input("p2"), p3 = input("p3");
  bool fits = true;
  for (const at::Tensor& t : {k, v, beta, gamma}) fits = fits && t.sizes() == q.sizes();
  for (const at::Tensor& t : {p1, p2, p3})
    fits = fits && t.sizes() == p1.sizes() && t.size(1) == q.size(1) && t.size(2) == q.size(2);
  if (!fits)
    throw Error(StatusCode::kBadInput, "the inputs do not fit q " + c10::str(q.sizes()), "mixer agalite",
                "k, v, beta_raw and gamma_raw are as q, p1, p2 and p3 [pos, head, eta]");
  const int64_t r = request.scalars.get_int("r", 8), T = q.size(1), H = q.size(2), d = q.size(3), f = d * p1.size(3);
  check_size(kKind, "r", r, 1 << 16);
  AgaliteInput in;
  in.q = agalite_map(q, p2);
  in.k = agalite_map(k, p1);
  in.v = v;
  in.gamma = (p3.sigmoid().unsqueeze(-1) * gamma.sigmoid().unsqueeze(-2)).flatten(-2);
  in.beta = beta.sigmoid();
  in.wave = agalite_wave(request.scalars.get_float("tick0", 1.0) + 1, T, r, q);
  AgaliteState s{q.new_zeros({1, r, H, f}), q.new_zeros({1, r, H, d}), q.new_zeros({1, H, f})};
  AgaliteResult a = request.form == MixerForm::kNaive ? agalite_naive(in, s, nullptr) : agalite_chunk(in, s);
  MixerOpResult out;
  out["o"] = a.o.squeeze(0);
  if (request.implied) out["A"] = agalite_pattern(in, a);
  if (!request.states) return out;
  out["Kt"] = a.K.squeeze(0);
  out["Vt"] = a.V.squeeze(0);
  out["s"] = a.s.squeeze(0);
  return out;
}

}  // namespace

void register_agalite(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2310.15719";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Agalite>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_dim", 8_n}, {"eta", 3_n}, {"rank", 4_n}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
