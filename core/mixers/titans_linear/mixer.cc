#include <ATen/ATen.h>

#include "core/mixers/case_list.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/memory_layer.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/titans_linear/forms.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "titans_linear";

struct Config {
  int64_t d_model, heads, d, chunk_size;
  double eps;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{d_model, p.get_int("num_heads"), p.get_int("head_dim"), p.get_int("chunk_size", 16),
           p.get_float("norm_eps", 1e-6)};
  check_size(kKind, "d_model", d_model, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "head_dim", c.d, 1 << 16);
  check_size(kKind, "chunk_size", c.chunk_size, 1 << 20);
  if (!(c.eps > 0)) throw Error(StatusCode::kBadInput, "norm_eps is not a positive number", "mixer titans_linear");
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
  info.inputs = {"q", "k", "v", "beta", "decay"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"};
  const std::vector<std::string> gate = {"batch", "pos", "head"};
  const std::vector<int64_t> sizes = {-1, -1, c.heads, c.d}, one = {-1, -1, c.heads};
  info.points = {{"hook_q", by_head, sizes, false, ""},
                 {"hook_k", by_head, sizes, false, ""},
                 {"hook_v", by_head, sizes, false, ""},
                 {"hook_beta", gate, one, false, "theta, the step's length"},
                 {"hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, c.heads, 1}, false, "log of 1 - alpha"},
                 {"hook_momentum", gate, one, false, "eta"},
                 {"hook_state", {"batch", "pos", "head", "d_k", "d_v"}, {-1, -1, c.heads, c.d, c.d}, true, "the memory M"},
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
  std::vector<WeightSpec> w = {{"q_proj.weight", {all, d_model}}, {"k_proj.weight", {all, d_model}},
                               {"v_proj.weight", {all, d_model}}, {"o_proj.weight", {d_model, all}}};
  for (const char* gate : {"theta_proj", "alpha_proj", "eta_proj"}) {
    w.push_back({std::string(gate) + ".weight", {c.heads, d_model}});
    w.push_back({std::string(gate) + ".bias", {c.heads}});
  }
  w.push_back({"M0", {c.heads, c.d, c.d}});
  w.push_back({"norm.weight", {c.heads, c.d}});
  w.push_back({"norm.bias", {c.heads, c.d}});
  return w;
}

class TitansLinear : public TokenMixer {
 public:
  TitansLinear(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "titans_linear");
    refuse_recurrent_form(run, "titans_linear");
    TitansInput a;
    a.q = by_head(in, "q", hooks);
    a.k = by_head(in, "k", hooks);
    a.v = by_head(in, "v", hooks);
    a.theta = heads_first(hooks.apply("hook_beta", gate(in, "beta", "theta_proj").sigmoid().squeeze(3)).unsqueeze(3));
    a.keep = heads_first(hooks.apply("hook_decay", at::log_sigmoid(-gate(in, "decay", "alpha_proj"))).exp());
    a.eta = heads_first(hooks.apply("hook_momentum", gate(in, "momentum", "eta_proj").sigmoid().squeeze(3)).unsqueeze(3));
    const auto type = a.q.scalar_type();
    a.w = w_.at("norm.weight").to(type).unsqueeze(1);
    a.b = w_.at("norm.bias").to(type).unsqueeze(1);
    a.chunk_size = c_.chunk_size;
    a.first_pos = hooks.first_pos();
    a.eps = c_.eps;
    TitansState s = take(state, a.q);
    const bool naive = run.form == MixerForm::kNaive || hooks.wants("hook_state");
    TitansResult r = naive ? titans_naive(a, s, &hooks) : titans_chunk(a, s);
    if (state) state->tensors = {{"M", s.M}, {"S", s.S}, {"frozen", s.frozen}};
    if (hooks.wants("hook_pattern")) r.z = apply_pattern(hooks, titans_pattern(a), r.u, r.z);
    at::Tensor z = heads_first(at_least_float32(hooks.apply("hook_z", heads_first(r.z).to(in.x.scalar_type()))));
    z = heads_first(norm_residual(z, a.w, a.b, c_.eps)).to(in.x.scalar_type());
    return project_out(hooks.apply("hook_z_normalized", z), w_.at("o_proj.weight"), hooks);
  }

 private:
  at::Tensor by_head(const MixerInput& in, const std::string& role, HookScope& hooks) const {
    at::Tensor x = project_heads(in, role, w_.at(role + "_proj.weight"), {}, c_.heads, c_.heads);
    return heads_first(at_least_float32(hooks.apply("hook_" + role, x)));
  }
  at::Tensor gate(const MixerInput& in, const std::string& role, const std::string& name) const {
    return at_least_float32(project_heads(in, role, w_.at(name + ".weight"), w_.at(name + ".bias"), c_.heads, c_.heads));
  }
  TitansState take(const MixerState* state, const at::Tensor& q) const {
    const std::vector<int64_t> shape = {q.size(0), c_.heads, c_.d, c_.d};
    auto kept = [&](const char* name) { return kept_tensor(state, name, shape, q.options(), kKind); };
    TitansState s{kept("M"), kept("S"), kept("frozen")};
    if (s.M.defined() && s.S.defined() && s.frozen.defined()) return s;
    s.M = w_.at("M0").to(q.scalar_type()).unsqueeze(0).expand(shape);
    s.S = at::zeros_like(s.M);
    s.frozen = s.M;
    return s;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
};

// Inputs [batch, head, pos, *]; w, b [head, d]; M0 [batch, head, d, d].
MixerOpResult op(const MixerOpRequest& request) {
  at::Tensor q = op_input(request, "q", 4), k = op_input(request, "k", 4), v = op_input(request, "v", 4);
  at::Tensor theta = op_input(request, "theta", 4), alpha = op_input(request, "alpha", 4), eta = op_input(request, "eta", 4);
  at::Tensor w = op_input(request, "w", 2), b = op_input(request, "b", 2);
  const int64_t B = q.size(0), H = q.size(1), T = q.size(2), D = q.size(3);
  bool fits = k.sizes() == q.sizes() && v.sizes() == q.sizes() && w.size(0) == H && w.size(1) == D && b.sizes() == w.sizes();
  for (const at::Tensor& g : {theta, alpha, eta})
    fits = fits && g.size(0) == B && g.size(1) == H && g.size(2) == T && g.size(3) == 1;
  at::Tensor M = request.inputs.count("M0") ? op_input(request, "M0", 4) : q.new_zeros({B, H, D, D});
  if (!fits || M.size(0) != B || M.size(1) != H || M.size(2) != D || M.size(3) != D)
    throw Error(StatusCode::kBadInput, "the inputs do not fit q " + c10::str(q.sizes()), "mixer titans_linear",
                "k and v are as q; theta, alpha, eta [batch, head, pos, 1]; w, b [head, d]; M0 [batch, head, d, d]");
  const int64_t chunk = request.scalars.get_int("chunk_size", 16);
  check_size(kKind, "chunk_size", chunk, 1 << 20);
  const double eps = request.scalars.get_float("eps", 1e-6);
  TitansInput in{q, k, v, theta, 1 - alpha, eta, w.unsqueeze(1), b.unsqueeze(1), chunk, 0, eps};
  TitansState s{M, at::zeros_like(M), M}, other = s;
  TitansResult r = request.form == MixerForm::kNaive ? titans_naive(in, s, nullptr) : titans_chunk(in, s);
  MixerOpResult out;
  out["o"] = norm_residual(r.z, in.w, in.b, eps);
  out["M_final"] = s.M;
  if (request.implied) out["A"] = titans_pattern(in);
  if (request.states) {
    if (r.M.empty()) r = titans_naive(in, other, nullptr);
    out["states_M"] = at::stack(r.M, 2);
    out["states_S"] = at::stack(r.S, 2);
  }
  return out;
}

}  // namespace

void register_titans_linear(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"titans"};
  k.paper = "arXiv 2501.00663";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<TitansLinear>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_dim", 8_n}, {"chunk_size", 4_n}}),
             make_case("every_token", 21, {{"num_heads", 2_n}, {"head_dim", 4_n}, {"chunk_size", 1_n}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
