#include <ATen/ATen.h>

#include "core/mixers/case_list.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/memory_layer.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/srwm/forms.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "srwm";

struct Config {
  int64_t d_model, heads, d;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{d_model, p.get_int("num_heads"), p.get_int("head_dim")};
  check_size(kKind, "d_model", d_model, 1 << 20);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "head_dim", c.d, 1 << 16);
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = info.d_v = c.d;
  info.forms = {MixerForm::kNaive};
  info.inputs = {"q"};
  const std::vector<int64_t> sizes = {-1, -1, c.heads, c.d};
  info.points = {{"hook_q", {"batch", "pos", "head", "d_head"}, sizes, false, "what the matrix is applied to"},
                 {"hook_state", {"batch", "pos", "head", "d_k", "d_v"}, {-1, -1, c.heads, c.d, c.d}, true,
                  "the part that makes y, after the token rewrote it"},
                 {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
                  "over what is written to that part; below the diagonal"},
                 {"hook_z", {"batch", "pos", "head", "d_v"}, sizes, false, ""},
                 {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, ""}};
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  return {{"q_proj.weight", {c.heads * c.d, d_model}}, {"o_proj.weight", {d_model, c.heads * c.d}},
          {"W_y", {c.heads, c.d, c.d}}, {"W_q", {c.heads, c.d, c.d}}, {"W_k", {c.heads, c.d, c.d}},
          {"w_b", {c.heads, c.d, 4}}};
}

class Srwm : public TokenMixer {
 public:
  Srwm(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "srwm");
    if (run.form == MixerForm::kRecurrent || run.form == MixerForm::kChunk)
      throw Error(StatusCode::kUnsupported, std::string("there is no form '") + form_name(run.form) + "'", "mixer srwm",
                  "use naive or auto: each token's write depends on all before it");
    at::Tensor x = hooks.apply("hook_q", project_heads(in, "q", w_.at("q_proj.weight"), {}, c_.heads, c_.heads));
    x = heads_first(at_least_float32(x));
    SrwmState s = take(state, x);
    SrwmResult r = srwm_naive(x, s, &hooks);
    if (state) state->tensors = {{"y", s.y}, {"q", s.q}, {"k", s.k}, {"b", s.b}};
    // y_t = x_t W_y(0) + sum_{s<t} (x_t . k_s) u_s.
    if (hooks.wants("hook_pattern"))
      r.o = apply_pattern(hooks, at::matmul(x, r.k.transpose(2, 3)).tril(-1), r.u, r.o);
    at::Tensor z = hooks.apply("hook_z", heads_first(r.o).to(in.x.scalar_type()));
    return project_out(z, w_.at("o_proj.weight"), hooks);
  }

 private:
  SrwmState take(const MixerState* state, const at::Tensor& x) const {
    SrwmState s;
    const std::pair<const char*, std::pair<const char*, at::Tensor*>> parts[] = {
        {"y", {"W_y", &s.y}}, {"q", {"W_q", &s.q}}, {"k", {"W_k", &s.k}}, {"b", {"w_b", &s.b}}};
    for (const auto& [name, where] : parts) {
      const at::Tensor& first = w_.at(where.first);
      at::Tensor start = first.to(x.scalar_type()).unsqueeze(0);
      start = start.expand({x.size(0), first.size(0), first.size(1), first.size(2)});
      at::Tensor kept = kept_tensor(state, name, start.sizes(), x.options(), kKind);
      *where.second = kept.defined() ? kept : start;
    }
    return s;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
};

// x [batch, head, pos, d]; Wy, Wq, Wk [head, d, d], wb [head, d, 4].
MixerOpResult op(const MixerOpRequest& request) {
  at::Tensor x = op_input(request, "x", 4);
  SrwmState s;
  for (auto [name, part] : {std::pair{"Wy", &s.y}, {"Wq", &s.q}, {"Wk", &s.k}, {"wb", &s.b}}) {
    at::Tensor w = op_input(request, name, 3);
    const int64_t last = part == &s.b ? 4 : x.size(3);
    if (w.size(0) != x.size(1) || w.size(1) != x.size(3) || w.size(2) != last)
      throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(w.sizes()) +
                  ", which does not fit x " + c10::str(x.sizes()), "mixer srwm");
    *part = w.unsqueeze(0).expand({x.size(0), w.size(0), w.size(1), w.size(2)});
  }
  SrwmResult r = srwm_naive(x, s, nullptr);
  MixerOpResult out = {{"o", r.o}, {"Wy_final", s.y}, {"Wq_final", s.q}, {"Wk_final", s.k}, {"wb_final", s.b}};
  if (request.states) out["states_Wy"] = at::stack(r.y, 1);
  if (request.implied) out["A"] = at::matmul(x, r.k.transpose(2, 3)).tril(-1);
  return out;
}

}  // namespace

void register_srwm(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2202.05780";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Srwm>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_dim", 8_n}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
