#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/hooked_run.h"
#include "core/mixers/mamba1/cases.h"
#include "core/mixers/mamba1/parts.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

// Split inputs of so many channels pass through the whole input projection at a time.
constexpr int64_t kSplitChannels = 32;

class Mamba1 : public TokenMixer {
 public:
  Mamba1(const Params& p, int64_t d_model, WeightMap weights)
      : c_(read_mamba1(p, d_model)), info_(mamba1_info(c_)), w_(std::move(weights)) {
    require_weights(w_, mamba1_weights(c_), info_.kind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "mamba1");
    const at::Tensor both = at::linear(in.x, w_.at("in_proj.weight"), maybe("in_proj.bias"));
    at::Tensor gate = in.split.count("gate") ? project_heads(in, "gate", rows("in_proj.weight", kGateRows),
                                                             rows("in_proj.bias", kGateRows), c_.d_inner, c_.d_inner)
                                             : both.slice(2, c_.d_inner).unsqueeze(3);
    const at::Tensor before = kept_tensor(state, "conv_v");
    at::Tensor x = convolve(both.slice(2, 0, c_.d_inner), state, hooks), v = x.unsqueeze(3);
    if (in.split.count("v")) {
      at::Tensor own = project_heads(in, "v", rows("in_proj.weight", kValueRows), rows("in_proj.bias", kValueRows),
                                     c_.d_inner, c_.d_inner);
      at::Tensor window = before;
      v = short_conv(own.squeeze(3), w_.at("conv1d.weight"), weight_or_none(w_, "conv1d.bias"), &window).unsqueeze(3);
    }

    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const int64_t b_at = c_.dt_rank, c_at = c_.dt_rank + c_.state_size;
    Mamba1Input r;
    r.v = hooks.apply("hook_v", v).squeeze(3).to(type);
    r.k = hooks.apply("hook_k", selected(in, "k", x, before, b_at, c_.state_size, "b_norm.weight")).to(type);
    r.q = hooks.apply("hook_q", selected(in, "q", x, before, c_at, c_.state_size, "c_norm.weight")).to(type);
    r.dt = hooks.apply("hook_dt", step_size(selected(in, "decay", x, before, 0, c_.dt_rank, "dt_norm.weight"), type));
    r.A = -w_.at("A_log").to(type).exp();
    r.D = w_.at("D").to(type);
    if (hooks.wants("hook_decay")) {
      at::Tensor g = hooks.apply("hook_decay", r.dt.unsqueeze(3) * r.A);
      if (hooks.changes("hook_decay")) r.g = g;
    }

    at::Tensor s = kept_tensor(state, "S");
    if (s.defined()) s = s.squeeze(3);
    at::Tensor z = mamba1_run(r, s, hooks, run.form);
    if (state) state->tensors["S"] = s.unsqueeze(3);
    z = only_read(z, run);
    gate = only_read(gate, run);
    z = hooks.apply("hook_z", z.to(in.x.scalar_type()).unsqueeze(3));
    at::Tensor out = project_out(z * hooks.apply("hook_gate", at::silu(gate)), w_.at("out_proj.weight"), hooks);
    return c_.out_bias ? out + w_.at("out_proj.bias") : out;
  }

 private:
  enum Rows { kValueRows, kGateRows };             // the halves of in_proj: x, z

  std::optional<at::Tensor> maybe(const std::string& name) const {
    auto it = w_.find(name);
    return it == w_.end() ? std::nullopt : std::optional<at::Tensor>(it->second);
  }
  at::Tensor rows(const std::string& name, Rows half) const {
    at::Tensor w = weight_or_none(w_, name);
    return w.defined() ? w.narrow(0, half == kValueRows ? 0 : c_.d_inner, c_.d_inner) : w;
  }

  // x [batch, pos, channel] after the convolution and its points; keeps the window.
  at::Tensor convolve(const at::Tensor& projected, MixerState* state, HookScope& hooks) const {
    at::Tensor x = hooks.apply("hook_v_pre_conv", projected.unsqueeze(3)).squeeze(3), window = kept_tensor(state, "conv_v"), windows;
    const at::Tensor &weight = w_.at("conv1d.weight"), bias = weight_or_none(w_, "conv1d.bias");
    if (hooks.wants("hook_conv_state")) windows = hooks.apply("hook_conv_state", conv_windows(x, c_.conv_size, window));
    at::Tensor y = short_conv(x, weight, bias, &window);
    if (state && window.size(1) > 0) state->tensors["conv_v"] = window;
    return hooks.changes("hook_conv_state") ? conv_from_windows(windows, weight, bias) : y;
  }

  // `width` rows of x_proj from `from` on, normalised where the layer does that: [batch, pos, 1, width]; with a split
  // input, whose every head is an x of its own, [batch, pos, channel, width].
  at::Tensor selected(const MixerInput& in, const char* role, const at::Tensor& x, const at::Tensor& before, int64_t from,
                      int64_t width, const char* norm) const {
    const at::Tensor part = w_.at("x_proj.weight").narrow(0, from, width);
    at::Tensor y;
    if (auto it = in.split.find(role); it == in.split.end()) {
      y = at::linear(x, part).unsqueeze(2);
    } else {
      const at::Tensor& split = it->second;
      const int64_t batch = split.size(0), T = split.size(1);
      std::vector<at::Tensor> blocks;
      for (int64_t h = 0; h < c_.d_inner; h += kSplitChannels) {
        const int64_t n = std::min(kSplitChannels, c_.d_inner - h);
        at::Tensor own = split.slice(2, h, h + n).permute({0, 2, 1, 3}).flatten(0, 1);
        std::optional<at::Tensor> bias;
        if (c_.in_bias) bias = rows("in_proj.bias", kValueRows);
        own = at::linear(own, rows("in_proj.weight", kValueRows), bias);
        at::Tensor window = before.defined() ? before.repeat_interleave(n, 0) : before;
        own = short_conv(own, w_.at("conv1d.weight"), weight_or_none(w_, "conv1d.bias"), &window);
        blocks.push_back(at::linear(own, part).view({batch, n, T, width}).transpose(1, 2));
      }
      y = blocks.size() == 1 ? blocks[0] : at::cat(blocks, 2);
    }
    return c_.bcdt_norm ? rms_norm(y, c_.bcdt_norm_weight ? w_.at(norm) : at::Tensor(), c_.bcdt_norm_eps) : y;
  }

  // softplus(dt_proj low + bias): low [batch, pos, 1 or channel, dt_rank] → [batch, pos, channel].
  at::Tensor step_size(const at::Tensor& low, at::ScalarType type) const {
    const at::Tensor &weight = w_.at("dt_proj.weight"), &bias = w_.at("dt_proj.bias");
    at::Tensor dt = low.size(2) == 1 ? at::linear(low.squeeze(2), weight, bias) : (low * weight).sum(3) + bias;
    return at::softplus(dt.to(type));
  }

  Mamba1Config c_;
  MixerInfo info_;
  WeightMap w_;
};

}  // namespace

void register_mamba1(Registry& registry) {
  MixerKind k;
  k.name = "mamba1";
  k.aliases = {"mamba", "selective_scan"};
  k.paper = "arXiv 2312.00752";
  k.info = [](const Params& p, int64_t d_model) { return mamba1_info(read_mamba1(p, d_model)); };
  k.weights = [](const Params& p, int64_t d_model) { return mamba1_weights(read_mamba1(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Mamba1>(p, d_model, std::move(w));
  };
  k.op = mamba1_op;
  k.cases = mamba1_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
