#include "core/mixers/recurrent_layer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"

namespace microtome::mixers {

namespace {

constexpr const char* kRoles[3] = {"q", "k", "v"};

// Channels of a depthwise weight or window by head, each head `times` times (k and v that split inputs left ungrouped).
at::Tensor repeat_channels(const at::Tensor& t, int64_t axis, int64_t heads, int64_t times) {
  if (!t.defined() || times == 1) return t;
  std::vector<int64_t> shape = t.sizes().vec();
  shape[axis] = heads;
  shape.insert(shape.begin() + axis + 1, t.size(axis) / heads);
  return t.reshape(shape).repeat_interleave(times, axis).flatten(axis, axis + 1);
}

at::Tensor point(HookScope& hooks, const char* name, const at::Tensor& value) {
  return hooks.wants(name) ? hooks.apply(name, value) : value;
}

}  // namespace

at::Tensor at_least_float32(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

RecurrentLayer::RecurrentLayer(RecurrentLayerConfig config, LinearRecurrence::Kind recurrence, WeightMap weights,
                               const std::vector<WeightSpec>& specs)
    : config_(std::move(config)), info_(layer_info(config_)), recurrence_(recurrence), weights_(std::move(weights)) {
  require_weights(weights_, specs, config_.kind);
}

at::Tensor RecurrentLayer::weight_of(const std::string& name) const { return weight_or_none(weights_, name); }

const at::Tensor& RecurrentLayer::weight(const std::string& name) const {
  auto it = weights_.find(name);
  if (it == weights_.end())
    throw Error(StatusCode::kInternal, "weight '" + name + "' is missing", "mixer " + config_.kind);
  return it->second;
}

void RecurrentLayer::convolve(at::Tensor (&qkv)[3], const at::Tensor (&early)[3], MixerState* state,
                              HookScope& hooks) const {
  const int64_t stored[3] = {config_.q_heads, config_.k_heads * config_.steps, config_.v_heads * config_.steps};
  const int parts = config_.conv_v ? 3 : 2;
  at::Tensor weights[3], biases[3], before[3], windows[3];
  const bool windows_wanted = hooks.wants("hook_conv_state");
  for (int i = 0; i < parts; ++i) {
    const std::string role = kRoles[i];
    qkv[i] = point(hooks, ("hook_" + role + "_pre_conv").c_str(), qkv[i]);
    const int64_t heads = qkv[i].size(2), channels = heads * qkv[i].size(3), times = heads / stored[i];
    weights[i] = repeat_channels(weight(role + "_conv1d.weight"), 0, stored[i], times);
    biases[i] = repeat_channels(weight_of(role + "_conv1d.bias"), 0, stored[i], times);
    before[i] = kept_tensor(state, "conv_" + role);
    // A window kept by a run with grouped heads, read by one without.
    if (before[i].defined() && before[i].dim() == 3 && before[i].size(2) * times == channels)
      before[i] = repeat_channels(before[i], 2, stored[i], times);
    const bool silu = i == 2 || config_.conv_silu_qk;
    at::Tensor own = qkv[i].flatten(2), flat = early[i].defined() ? early[i].flatten(2) : own;
    if (windows_wanted) {
      windows[i] = conv_windows(flat, config_.conv_size, before[i]);
      if (early[i].defined()) windows[i] = at::cat({windows[i].slice(3, 0, config_.conv_size - 1), own.unsqueeze(3)}, 3);
    }
    at::Tensor y = short_conv(flat, weights[i], biases[i], &before[i], silu && !early[i].defined());
    if (early[i].defined()) {
      // The taps are a sum, so the token's own is put in place of what `early` has there.
      y = y + (own - flat) * at_least_float32(weights[i]).select(2, config_.conv_size - 1).select(1, 0).to(y.scalar_type());
      if (silu) y = at::silu(y);
    }
    qkv[i] = y.view({y.size(0), y.size(1), heads, channels / heads});
    if (state && before[i].size(1) > 0) state->tensors["conv_" + role] = before[i];
  }
  if (!windows_wanted) return;
  at::Tensor all = hooks.apply("hook_conv_state", at::cat(at::TensorList(windows, static_cast<size_t>(parts)), 2));
  if (!hooks.changes("hook_conv_state")) return;
  int64_t from = 0;
  for (int i = 0; i < parts; ++i) {
    const int64_t channels = windows[i].size(2);
    at::Tensor y = conv_from_windows(all.slice(2, from, from + channels), weights[i], biases[i],
                                     i == 2 || config_.conv_silu_qk);
    qkv[i] = y.view(qkv[i].sizes());
    from += channels;
  }
}

at::Tensor RecurrentLayer::gate(const MixerInput& in) const {
  at::Tensor g = config_.gate_rank
                     ? project_low_rank(in, "gate", weight(config_.gate_name + ".0.weight"),
                                        weight(config_.gate_name + ".1.weight"), maybe(config_.gate_name + ".1.bias"),
                                        config_.heads, config_.heads)
                     : project_heads(in, "gate", weight(config_.gate_name + ".weight"), {}, config_.heads, config_.heads);
  return config_.gate == "sigmoid" ? at::sigmoid(g) : at::silu(g);
}

at::Tensor RecurrentLayer::projection(int role) const {
  return weight((role == 0 ? config_.q_name : role == 1 ? config_.k_name : config_.v_name) + ".weight");
}

void RecurrentLayer::map_qkv(const at::Tensor (&qkv)[3], RecurrenceInput& r) const {
  r.q = map_q(qkv[0]);
  r.k = map_k(qkv[1]);
  r.v = map_v(qkv[2]);
}

at::Tensor RecurrentLayer::mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                               const MixerRun& run) const {
  r.narrow_z = true;                                   // forward() rounds it to x's type, which q has too where it is narrow
  return recurrence_.run(r, s, hooks, run);
}

at::Tensor RecurrentLayer::project_steps(const MixerInput& in, const std::string& role, const at::Tensor& weight,
                                         int64_t heads) const {
  if (config_.steps == 1) return project_heads(in, role, weight, {}, heads, config_.heads);
  const int64_t rows = weight.size(0) / config_.steps;
  std::vector<at::Tensor> steps;
  for (int64_t j = 0; j < config_.steps; ++j)
    steps.push_back(project_heads(in, role, weight.narrow(0, j * rows, rows), {}, heads, config_.heads));
  return at::cat(steps, 2);
}

at::Tensor RecurrentLayer::output(const at::Tensor& z, const at::Tensor& gate, HookScope& hooks) const {
  at::Tensor y = z;
  if (!config_.norm.empty()) {
    const at::Tensor gain = config_.norm_affine ? weight(config_.norm) : at::Tensor();
    if (config_.norm_silu) y = at::silu(y);
    y = config_.norm_whole ? rms_norm(y.flatten(2), gain, config_.norm_eps).view(y.sizes())
                           : rms_norm(y, gain, config_.norm_eps);
    y = point(hooks, "hook_z_normalized", y);
  }
  if (gate.defined()) y = y * gate;
  return project_out(y, weight(config_.o_name + ".weight"), hooks);
}

at::Tensor RecurrentLayer::forward(const MixerInput& in, MixerState* state, HookScope& hooks,
                                   const MixerRun& run) const {
  const RecurrentLayerConfig& c = config_;
  check_input(in, c.d_model, c.kind);
  at::Tensor qkv[3] = {project_heads(in, "q", projection(0), {}, c.q_heads, c.heads),
                       project_steps(in, "k", projection(1), c.k_heads),
                       project_steps(in, "v", projection(2), c.v_heads)};
  if (c.conv_size) {
    const int64_t widths[3] = {c.q_heads, c.k_heads, c.v_heads};
    at::Tensor early[3];
    for (int i = 0; i < (c.conv_v ? 3 : 2); ++i) {
      const std::string role = std::string(kRoles[i]) + "_conv";
      if (!in.split.count(role)) continue;
      early[i] = i == 0 ? project_heads(in, role, projection(0), {}, c.q_heads, c.heads) : project_steps(in, role, projection(i), widths[i]);
      if (qkv[i].size(2) != early[i].size(2)) qkv[i] = qkv[i].repeat_interleave(early[i].size(2) / qkv[i].size(2), 2);
    }
    convolve(qkv, early, state, hooks);
  }

  RecurrenceInput r;
  r.steps = c.steps;
  map_qkv(qkv, r);
  r.q = point(hooks, "hook_q", r.q);
  r.k = point(hooks, "hook_k", r.k);
  r.v = point(hooks, "hook_v", r.v);
  if (c.erase_key) r.a = point(hooks, "hook_erase_key", r.a);
  if (c.rotary) {
    r.q = point(hooks, "hook_rot_q", rotary(r.q, hooks.first_pos(), c.d_k, c.rope_theta, false));
    r.k = point(hooks, "hook_rot_k", rotary(r.k, hooks.first_pos(), c.d_k, c.rope_theta, false));
  }
  if (c.decay_width) r.g = point(hooks, "hook_decay", decay(in));
  if (c.beta_heads) r.beta = point(hooks, c.beta_point.c_str(), beta(in));
  r.scale = 1.0 / std::sqrt(static_cast<double>(c.d_k));
  // Step after step: [batch, pos, steps * head, …] → [batch, pos * steps, head, …].
  if (c.steps > 1)
    for (at::Tensor* t : {&r.k, &r.v, &r.beta})
      if (t->defined()) *t = t->unflatten(2, {c.steps, t->size(2) / c.steps}).flatten(1, 2);

  RecurrentState s{kept_tensor(state, "S"), kept_tensor(state, "z")};
  at::Tensor z = mix(r, s, state, hooks, run).to(in.x.scalar_type());
  if (state) {
    state->tensors["S"] = s.S;
    if (s.z.defined()) state->tensors["z"] = s.z;
  }
  z = point(hooks, "hook_z", z);

  at::Tensor g;
  if (!c.gate.empty()) {
    MixerInput only{only_read(in.x, run), {}};
    if (auto it = in.split.find("gate"); it != in.split.end()) only.split["gate"] = only_read(it->second, run);
    g = gate(only);
    g = point(hooks, "hook_gate", g);
  }
  return output(z, g, hooks);
}

}  // namespace microtome::mixers
