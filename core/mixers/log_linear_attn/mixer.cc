#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/log_linear_attn/cases.h"
#include "core/mixers/log_linear_attn/run.h"
#include "core/mixers/mamba2/layer.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "log_linear_attn";

struct Config {
  Mamba2Config base;
  int64_t levels = 0;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{read_mamba2(p, d_model), p.get_int("levels", 15)};
  check_size(kKind, "levels", c.levels, 62);
  c.base.extra_rows = c.base.heads * c.levels;
  return c;
}

MixerInfo make_info(const Config& c) {
  MixerInfo info = mamba2_info(c.base);
  info.kind = kKind;
  info.inputs.push_back("level");
  std::vector<HookPoint> points;
  for (HookPoint& p : info.points) {
    const bool state = p.name == "hook_state";
    if (state) p.note = "what the query reads: the levels' states, each times its scale; a change lasts for the token";
    if (p.name == "hook_state_write") p.note = "dt B x^T, into level 0";
    points.push_back(p);
    if (!state) continue;
    for (int64_t l = 0; l < c.levels; ++l)
      points.push_back({"hook_state.level" + std::to_string(l), p.axes, p.sizes, true,
                        l == 0 ? "the token alone" : std::to_string(int64_t{1} << (l - 1)) + " tokens, or empty"});
    points.push_back({"hook_level_scale", {"batch", "pos", "head", "level"}, {-1, -1, c.base.heads, c.levels}, false,
                      "weight of each level in the read-out"});
  }
  info.points = std::move(points);
  return info;
}

std::vector<WeightSpec> make_weights(const Config& c) {
  std::vector<WeightSpec> w = mamba2_weights(c.base);
  w.push_back({"L", {c.base.heads, c.levels}});
  return w;
}

class LogLinear : public Mamba2Layer {
 public:
  LogLinear(const Config& c, WeightMap weights)
      : Mamba2Layer(c.base, make_info(c), std::move(weights), make_weights(c)), levels_(c.levels) {}

 protected:
  at::Tensor mix(RecurrenceInput& r, const MixerInput& in, const at::Tensor& projected, MixerState* state,
                 HookScope& hooks, const MixerRun& run) const override {
    const Mamba2Config& c = config();
    const auto type = r.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor raw = part(in, projected, "level", c.in_rows() - c.extra_rows, c.heads, levels_, 1);
    LogLinearInput x;
    x.scales = hooks.apply("hook_level_scale", at::softplus(weight("L").to(type) * raw.to(type)));
    x.first = hooks.first_pos();
    for (at::Tensor* t : {&r.q, &r.k, &r.v, &r.g, &r.skip}) *t = t->to(type);
    x.r = r;
    LevelStates states;
    if (at::Tensor s = kept_tensor(state, "S"); s.defined()) {
      const std::vector<int64_t> want = {r.q.size(0), s.dim() == 5 ? s.size(1) : 0, c.heads, c.state_size, c.head_dim};
      if (s.sizes() != at::IntArrayRef(want))
        throw Error(StatusCode::kBadInput, "the incoming state has shape " + c10::str(s.sizes()) +
                                               ", expected [batch, level, head, d_k, d_v] = " +
                                               c10::str(at::IntArrayRef(want)), "mixer log_linear_attn");
      states = unstack_levels(s.to(r.q.options()));
    }
    at::Tensor z = log_linear_run(x, states, hooks, run.form);
    if (state) state->tensors["S"] = stack_levels(states);
    return only_read(z, run);
  }

 private:
  int64_t levels_;
};

}  // namespace

void register_log_linear_attn(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"log_linear_mamba2"};
  k.paper = "arXiv 2506.04761";
  k.info = [](const Params& p, int64_t d_model) { return make_info(read_config(p, d_model)); };
  k.weights = [](const Params& p, int64_t d_model) { return make_weights(read_config(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<LogLinear>(read_config(p, d_model), std::move(w));
  };
  k.op = log_linear_op;
  k.cases = log_linear_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
