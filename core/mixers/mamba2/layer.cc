#include "core/mixers/mamba2/layer.h"

#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

namespace {

// What the convolution holds, in the order of its channels: x, B, C.
constexpr const char* kConvRoles[3] = {"v", "k", "q"};

at::Tensor scaled(const at::Tensor& x, double by) { return by == 1 ? x : x * by; }

std::optional<at::Tensor> optional_bias(bool there, const WeightMap& weights) {
  return there ? std::optional<at::Tensor>(weights.at("in_proj.bias")) : std::nullopt;
}

}  // namespace

Mamba2Layer::Mamba2Layer(Mamba2Config config, MixerInfo info, WeightMap weights, const std::vector<WeightSpec>& specs)
    : c_(config), info_(std::move(info)), w_(std::move(weights)) {
  require_weights(w_, specs, info_.kind);
  group_ = at::tensor(c_.group_of_heads(), at::TensorOptions().dtype(at::kLong)).to(w_.at("in_proj.weight").device());
}

// A group's rows once a head that reads it, along `axis` of [… group, …].
at::Tensor Mamba2Layer::by_head(const at::Tensor& x, int64_t axis) const { return x.index_select(axis, group_); }
// B or C [batch, pos, group or head, d_k] once a head.
at::Tensor Mamba2Layer::to_heads(const at::Tensor& x) const { return x.size(2) == c_.heads ? x : by_head(x, 2); }

at::Tensor Mamba2Layer::part(const MixerInput& in, const at::Tensor& whole, const char* role, int64_t from,
                             int64_t heads, int64_t width, double multiplier) const {
  auto it = in.split.find(role);
  if (it == in.split.end()) {
    at::Tensor y = whole.slice(2, from, from + heads * width).unflatten(2, {heads, width});
    return scaled(y, multiplier);
  }
  at::Tensor w = w_.at("in_proj.weight").narrow(0, from, heads * width).unflatten(0, {heads, width});
  at::Tensor b = c_.in_bias ? w_.at("in_proj.bias").narrow(0, from, heads * width).unflatten(0, {heads, width})
                            : at::Tensor();
  if (heads != c_.heads) {
    w = by_head(w, 0);
    if (b.defined()) b = by_head(b, 0);
  }
  MixerInput own;
  own.split[role] = scaled(it->second, c_.multiplier_in);
  at::Tensor y = project_heads(own, role, w.flatten(0, 1), b.defined() ? b.flatten(0, 1) : b, c_.heads, c_.heads);
  return scaled(y, multiplier);
}

void Mamba2Layer::convolve(at::Tensor (&vkq)[3], MixerState* state, HookScope& hooks) const {
  const bool windows_wanted = hooks.wants("hook_conv_state");
  at::Tensor weights[3], biases[3], windows[3];
  int64_t from = 0;
  for (int i = 0; i < 3; ++i) {
    const std::string role = kConvRoles[i], kept = "conv_" + role;
    at::Tensor x = hooks.apply("hook_" + role + "_pre_conv", vkq[i]), before = kept_tensor(state, kept);
    const int64_t heads = i == 0 ? c_.heads : c_.groups, width = x.size(3), stored = heads * width;
    // One of two runs had split inputs, the other had not: what is kept and what comes are joined once a head.
    if (before.defined() && before.dim() == 3 && before.size(2) != x.size(2) * width) {
      if (before.size(2) == stored) before = by_head(before.unflatten(2, {heads, width}), 2).flatten(2);
      else x = to_heads(x);
    }
    weights[i] = w_.at("conv1d.weight").narrow(0, from, stored);
    if (c_.conv_bias) biases[i] = w_.at("conv1d.bias").narrow(0, from, stored);
    if (x.size(2) != heads) {
      weights[i] = by_head(weights[i].unflatten(0, {heads, width}), 0).flatten(0, 1);
      if (biases[i].defined()) biases[i] = by_head(biases[i].unflatten(0, {heads, width}), 0).flatten(0, 1);
    }
    from += stored;
    at::Tensor flat = x.flatten(2);
    if (windows_wanted) windows[i] = conv_windows(flat, c_.conv_size, before);
    vkq[i] = short_conv(flat, weights[i], biases[i], &before).view(x.sizes());
    if (state && before.size(1) > 0) state->tensors[kept] = before;
  }
  if (!windows_wanted) return;
  at::Tensor all = hooks.apply("hook_conv_state", at::cat(at::TensorList(windows, 3), 2));
  if (!hooks.changes("hook_conv_state")) return;
  from = 0;
  for (int i = 0; i < 3; ++i) {
    const int64_t channels = windows[i].size(2);
    vkq[i] = conv_from_windows(all.slice(2, from, from + channels), weights[i], biases[i]).view(vkq[i].sizes());
    from += channels;
  }
}

at::Tensor Mamba2Layer::norm(const at::Tensor& y) const {
  at::Tensor by_group = y.flatten(2).unflatten(2, {c_.norm_groups, c_.inner() / c_.norm_groups});
  return rms_norm(by_group, {}, c_.norm_eps).reshape(y.sizes()) * w_.at("norm.weight").view({c_.heads, c_.head_dim});
}

at::Tensor Mamba2Layer::output(const at::Tensor& z, const at::Tensor& gate, HookScope& hooks) const {
  at::Tensor y;
  if (!c_.rms_norm) y = z * gate;
  else if (c_.norm_before_gate) y = hooks.apply("hook_z_normalized", norm(z)) * gate;
  else y = hooks.apply("hook_z_normalized", norm(z * gate));
  at::Tensor out = project_out(scaled(y, c_.multiplier_out), w_.at("out_proj.weight"), hooks);
  return c_.out_bias ? out + scaled(w_.at("out_proj.bias"), c_.multiplier_out) : out;
}

at::Tensor Mamba2Layer::mix(RecurrenceInput& r, const MixerInput&, const at::Tensor&, MixerState* state, HookScope& hooks,
                            const MixerRun& run) const {
  RecurrentState s{kept_tensor(state, "S"), {}};
  at::Tensor z = LinearRecurrence(mamba2_recurrence()).run(r, s, hooks, run);
  if (state) state->tensors["S"] = s.S;
  return z;
}

at::Tensor Mamba2Layer::forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const {
  check_input(in, c_.d_model, info_.kind);
  // Rows of in_proj: z (the gate), x, B, C, dt.
  const int64_t x_at = c_.inner(), b_at = 2 * c_.inner(), c_at = b_at + c_.group_width(), dt_at = c_at + c_.group_width();
  const at::Tensor whole = at::linear(scaled(in.x, c_.multiplier_in), w_.at("in_proj.weight"), optional_bias(c_.in_bias, w_));
  at::Tensor gate = part(in, whole, "gate", 0, c_.heads, c_.head_dim, c_.multiplier_gate);
  at::Tensor vkq[3] = {part(in, whole, "v", x_at, c_.heads, c_.head_dim, c_.multiplier_x),
                       part(in, whole, "k", b_at, c_.groups, c_.state_size, c_.multiplier_b),
                       part(in, whole, "q", c_at, c_.groups, c_.state_size, c_.multiplier_c)};
  at::Tensor dt = part(in, whole, "decay", dt_at, c_.heads, 1, c_.multiplier_dt).squeeze(3);
  convolve(vkq, state, hooks);

  RecurrenceInput r;
  r.v = hooks.apply("hook_v", vkq[0]);
  at::Tensor k = hooks.apply("hook_k", vkq[1]);
  r.q = to_heads(hooks.apply("hook_q", vkq[2]));
  dt = at::softplus(at_least_float32(dt) + at_least_float32(w_.at("dt_bias"))).clamp(c_.dt_min, c_.dt_max);
  dt = hooks.apply("hook_dt", dt);
  at::Tensor g = dt * -at_least_float32(w_.at("A_log")).exp();
  r.g = hooks.apply("hook_decay", g.unsqueeze(3));
  r.k = to_heads(k).to(dt.scalar_type()) * dt.unsqueeze(3);
  r.skip = w_.at("D");

  at::Tensor z = mix(r, in, whole, state, hooks, run).to(in.x.scalar_type());
  z = hooks.apply("hook_z", z);
  gate = only_read(gate, run);
  return output(z, hooks.apply("hook_gate", at::silu(gate)), hooks);
}

}  // namespace microtome::mixers
