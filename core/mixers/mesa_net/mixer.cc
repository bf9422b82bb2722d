#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/mesa_net/cases.h"
#include "core/mixers/mesa_net/forms.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/simple_gla/forms.h"

namespace microtome::mixers {

namespace {

// The second half: z_t = S_t^T q*_t, S_t = exp(g_t) S_{t-1} + beta_t k_t v_t^T.
constexpr LinearRecurrence::Kind kRecurrence = {"mesa_net", simple_gla_naive, simple_gla_chunk};
// Fewer tokens are solved one by one.
constexpr int64_t kShort = 8;

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "mesa_net", false, true);
  if (c.k_heads != c.heads)
    throw Error(StatusCode::kUnsupported, "num_kv_heads differs from num_heads", "mixer mesa_net", "leave it out");
  c.conv_v = false;
  c.decay_width = 1;
  c.decay_heads = c.beta_heads = c.heads;
  c.decay_input = c.beta_input = true;
  c.norm = "o_norm.weight";
  return c;
}

double ridge_least(const Params& p) {
  const double least = p.get_float("ridge_least", 0.25);
  if (!(least >= 0)) throw Error(StatusCode::kBadInput, "ridge_least is negative", "mixer mesa_net");
  return least;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  MixerInfo info = layer_info(c);
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.points.push_back({"hook_q_solved", {"batch", "pos", "head", "d_head"}, {-1, -1, c.heads, c.d_k}, false,
                         "(H + ridge)^-1 q: what reads the state"});
  info.points.push_back({"hook_state.hkk", {"batch", "pos", "head", "d_k", "d_k2"}, {-1, -1, c.heads, c.d_k, c.d_k}, true,
                         "H, the decayed covariance of the keys, without the ridge"});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_config(p, d_model);
  std::vector<WeightSpec> w = layer_weights(c);
  for (const char* name : {"a_proj", "b_proj"}) {
    w.push_back({std::string(name) + ".weight", {c.heads, d_model}});
    w.push_back({std::string(name) + ".bias", {c.heads}});
  }
  w.push_back({"lambda_params", {c.heads * c.d_k}});
  return w;
}

at::Tensor solve(const MesaInput& in, at::Tensor& Hkk, MixerForm form) {
  if (form == MixerForm::kNaive || (form == MixerForm::kAuto && in.q.size(1) < kShort)) return mesa_solve_naive(in, Hkk);
  if (form != MixerForm::kAuto && form != MixerForm::kChunk)
    throw Error(StatusCode::kUnsupported, std::string("mixer mesa_net has no form '") + form_name(form) + "'", "",
                "use auto, naive or chunk");
  return mesa_solve_chunk(in, Hkk);
}

class MesaNet : public RecurrentLayer {
 public:
  MesaNet(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), weight_specs(p, d_model)),
        info_(make_info(p, d_model)), least_(ridge_least(p)) {}
  const MixerInfo& info() const override { return info_; }

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return l2_norm(q); }
  at::Tensor map_k(const at::Tensor& k) const override { return l2_norm(k); }
  at::Tensor decay(const MixerInput& in) const override {
    return at::log_sigmoid(at_least_float32(scalar(in, "decay", "a_proj")));
  }
  at::Tensor beta(const MixerInput& in) const override {
    return at_least_float32(scalar(in, "beta", "b_proj")).squeeze(-1).sigmoid();
  }

  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                 const MixerRun& run) const override {
    const auto type = r.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor ridge = at::softplus(at_least_float32(weight("lambda_params"))).to(type) + least_;
    MesaInput in{r.q.to(type), r.k.to(type), r.g.squeeze(-1).to(type), r.beta.to(type),
                 ridge.view({config().heads, config().d_k})};
    at::Tensor Hkk = kept_tensor(kept, "Hkk");
    const std::vector<int64_t> shape = {in.k.size(0), config().heads, config().d_k, config().d_k};
    if (!Hkk.defined()) Hkk = in.k.new_zeros(shape);
    if (Hkk.sizes() != at::IntArrayRef(shape))
      throw Error(StatusCode::kBadInput, "the incoming state Hkk has shape " + c10::str(Hkk.sizes()) + ", expected " +
                                             c10::str(shape), "mixer mesa_net");
    Hkk = Hkk.to(type);
    at::Tensor solved;
    if (hooks.wants("hook_state.hkk")) {
      solved = mesa_solve_naive(in, Hkk, [&](int64_t t, const at::Tensor& H) { return hooks.apply_at("hook_state.hkk", t, H); });
    } else {
      solved = solve(in, Hkk, run.form);
    }
    if (kept) kept->tensors["Hkk"] = Hkk;
    r.q = hooks.apply("hook_q_solved", solved);
    r.k = in.k * in.beta.unsqueeze(-1);
    r.beta = at::Tensor();
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }

 private:
  at::Tensor scalar(const MixerInput& in, const char* role, const std::string& name) const {
    return project_heads(in, role, weight(name + ".weight"), weight(name + ".bias"), config().heads, config().heads);
  }
  MixerInfo info_;
  double least_;
};

// q, k, v [batch, pos, head, *], g, beta [batch, pos, head], lamb [head, d_k] (the ridge), h_kk_init and h_kv_init →
// o, h_kk, h_kv, and A when implied weights are asked for.
MixerOpResult mesa_net_op(const MixerOpRequest& request) {
  MesaInput in{op_input(request, "q", 4), op_input(request, "k", 4), op_input(request, "g", 3),
               op_input(request, "beta", 3), op_input(request, "lamb", 2)};
  const at::Tensor v = op_input(request, "v", 4);
  const int64_t B = in.q.size(0), H = in.q.size(2), K = in.q.size(3);
  const bool fits = in.k.sizes() == in.q.sizes() && v.sizes().slice(0, 3) == in.q.sizes().slice(0, 3) &&
                    in.g.sizes() == in.q.sizes().slice(0, 3) && in.beta.sizes() == in.g.sizes() &&
                    in.ridge.size(0) == H && in.ridge.size(1) == K;
  if (!fits)
    throw Error(StatusCode::kBadInput, "the inputs do not fit q's shape " + c10::str(in.q.sizes()) + ": k the same, v its " +
                                           "first three axes, g and beta [batch, pos, head], lamb [head, d_k]");
  auto initial = [&](const char* name, int64_t width) {
    if (!request.inputs.count(name)) return in.k.new_zeros({B, H, K, width});
    at::Tensor t = op_input(request, name, 4);
    if (t.sizes() != at::IntArrayRef({B, H, K, width}))
      throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()));
    return t;
  };
  at::Tensor Hkk = initial("h_kk_init", K);
  RecurrenceInput r;
  r.q = solve(in, Hkk, request.form);
  r.k = in.k * in.beta.unsqueeze(-1);
  r.v = v;
  r.g = in.g.unsqueeze(-1);
  RecurrentState s{initial("h_kv_init", v.size(3)), {}};
  LinearRecurrence recurrence(kRecurrence);
  HookScope nothing;
  MixerRun run;
  run.form = request.form;
  MixerOpResult out;
  out["o"] = recurrence.run(r, s, nothing, run);
  out["h_kk"] = Hkk;
  out["h_kv"] = s.S;
  if (request.implied) out["A"] = recurrence.pattern(r, {}, request.form);
  return out;
}

}  // namespace

void register_mesa_net(Registry& registry) {
  MixerKind k;
  k.name = "mesa_net";
  k.paper = "arXiv 2506.05233";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<MesaNet>(p, d_model, std::move(w));
  };
  k.op = mesa_net_op;
  k.cases = mesa_net_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
