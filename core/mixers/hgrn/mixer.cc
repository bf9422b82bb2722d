#include <ATen/ATen.h>

#include "core/mixers/hgrn/cases.h"
#include "core/mixers/hgrn/gate.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/vector_recurrence.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "hgrn";

int64_t read_width(const Params& p, int64_t d_model) {
  check_size(kKind, "d_model", d_model, 1 << 20);
  const int64_t width = p.get_int("width", d_model);
  check_size(kKind, "width", width, 1 << 20);
  return width;
}

double read_eps(const Params& p) {
  const double eps = p.get_float("norm_eps", 1e-5);
  if (!(eps > 0))
    throw Error(StatusCode::kBadInput, "norm_eps is " + std::to_string(eps) + ", expected a positive number", "mixer hgrn");
  return eps;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const int64_t n = read_width(p, d_model);
  MixerInfo info = vector_info(kKind, n, d_model);
  info.inputs = {"k", "v", "decay", "gate"};
  info.points.push_back({"hook_z_normalized", {"batch", "pos", "head", "d_v"}, {-1, -1, n, 1}, false, ""});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const int64_t n = read_width(p, d_model);
  std::vector<WeightSpec> w;
  for (const char* name : {"f_proj", "i_proj", "g_proj"}) w.push_back({std::string(name) + ".weight", {n, d_model}});
  w.push_back({"o_proj.weight", {d_model, n}});
  if (p.get_bool("elementwise_affine", true)) w.push_back({"g_norm.weight", {n}});
  for (WeightSpec& s : forget_gate_weights(read_forget_gate(p, kKind), n)) w.push_back(std::move(s));
  return w;
}

class Hgrn : public TokenMixer {
 public:
  Hgrn(const Params& p, int64_t d_model, WeightMap weights)
      : d_model_(d_model), width_(read_width(p, d_model)), eps_(read_eps(p)), forget_(read_forget_gate(p, kKind)),
        info_(make_info(p, d_model)), w_(std::move(weights)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, "hgrn");
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor g = decay(in, "decay"), kg = in.split.count("k") || in.split.count("decay") ? decay(in, "k") : g;
    at::Tensor k = hooks.apply("hook_k", -at::expm1(kg));
    at::Tensor v = hooks.apply("hook_v", at::silu(project(in, "v", "i_proj")));
    g = hooks.apply("hook_decay", g);
    const VectorInput r{k.squeeze(3).to(type), v.squeeze(3).to(type), g.squeeze(3).to(type)};
    at::Tensor h = kept_vector(state, r.v, kKind);
    at::Tensor z = run_vector(r, h, hooks, run.form, kKind);
    keep_vector(state, h);
    at::Tensor gate = at::silu(project(in, "gate", "g_proj"));
    z = only_read(z, run);
    gate = only_read(gate, run);
    z = hooks.apply("hook_z", z.to(in.x.scalar_type()).unsqueeze(3));
    at::Tensor y = rms_norm(z.flatten(2), weight_or_none(w_, "g_norm.weight"), eps_).unsqueeze(3);
    y = hooks.apply("hook_z_normalized", y);
    return project_out(y * hooks.apply("hook_gate", gate), w_.at("o_proj.weight"), hooks);
  }

 private:
  at::Tensor project(const MixerInput& in, const char* role, const std::string& name) const {
    return project_heads(in, role, w_.at(name + ".weight"), {}, width_, width_);
  }
  at::Tensor decay(const MixerInput& in, const char* role) const {
    return forget_gate(forget_, project(in, role, "f_proj"), weight_or_none(w_, "lower_bounds"));
  }

  int64_t d_model_, width_;
  double eps_;
  ForgetGate forget_;
  MixerInfo info_;
  WeightMap w_;
};

// x (k v together), g [batch, pos, channel], initial_state [batch, channel] → o (every state), final_state, and A
// [batch, channel, q_pos, k_pos] when implied weights are asked for.
MixerOpResult hgrn_op(const MixerOpRequest& request) {
  const at::Tensor x = op_input(request, "x", 3), g = op_input(request, "g", 3);
  if (g.sizes() != x.sizes())
    throw Error(StatusCode::kBadInput, "input 'g' has shape " + c10::str(g.sizes()) + ", expected x's " + c10::str(x.sizes()));
  at::Tensor h;
  if (request.inputs.count("initial_state")) {
    h = op_input(request, "initial_state", 2);
    if (h.size(0) != x.size(0) || h.size(1) != x.size(2))
      throw Error(StatusCode::kBadInput, "input 'initial_state' has shape " + c10::str(h.sizes()) + ", expected [" +
                                             std::to_string(x.size(0)) + ", " + std::to_string(x.size(2)) + "]");
  }
  const VectorInput in{at::ones_like(x), x, g};
  HookScope nothing;
  MixerOpResult out;
  out["o"] = run_vector(in, h, nothing, request.form, kKind);
  out["final_state"] = h;
  if (request.states) out["states"] = out["o"];
  if (request.implied) out["A"] = vector_pattern(in);
  return out;
}

}  // namespace

void register_hgrn(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2311.04823";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Hgrn>(p, d_model, std::move(w));
  };
  k.op = hgrn_op;
  k.cases = hgrn_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
