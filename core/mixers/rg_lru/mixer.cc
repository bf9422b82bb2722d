#include <ATen/ATen.h>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/rg_lru/cases.h"
#include "core/mixers/rg_lru/gates.h"
#include "core/mixers/vector_recurrence.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "rg_lru";

struct Shape {
  int64_t width, blocks, conv;
};

Shape read_shape(const Params& p, int64_t d_model) {
  check_size(kKind, "d_model", d_model, 1 << 20);
  Shape s{p.get_int("width", d_model), p.get_int("num_heads", 1), p.get_int("conv_size", 4)};
  check_size(kKind, "width", s.width, 1 << 20);
  check_size(kKind, "num_heads", s.blocks, 1 << 16);
  check_size(kKind, "conv_size", s.conv, 1 << 12);
  if (s.width % s.blocks != 0)
    throw Error(StatusCode::kBadInput, "num_heads " + std::to_string(s.blocks) + " does not divide width " +
                                           std::to_string(s.width), "mixer rg_lru");
  return s;
}

std::string read_activation(const Params& p) {
  const std::string name = p.get_string("activation", "gelu_tanh");
  if (name != "gelu_tanh") check_activation(kKind, "activation", name);
  return name;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  read_activation(p);
  MixerInfo info = vector_info(kKind, s.width, d_model);
  info.inputs = {"v", "gate"};
  info.points.push_back({"hook_v_pre_conv", {"batch", "pos", "head", "d_head"}, {-1, -1, s.width, 1}, false,
                         "the gates read its convolution, too"});
  info.points.push_back({"hook_conv_state", {"batch", "pos", "channel", "width"}, {-1, -1, s.width, s.conv}, true,
                         "the token's own input last"});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Shape s = read_shape(p, d_model);
  const int64_t n = s.width, w = n / s.blocks;
  std::vector<WeightSpec> out;
  for (const char* name : {"linear_x", "linear_y"}) {
    out.push_back({std::string(name) + ".weight", {n, d_model}});
    out.push_back({std::string(name) + ".bias", {n}});
  }
  out.push_back({"linear_out.weight", {d_model, n}});
  out.push_back({"linear_out.bias", {d_model}});
  out.push_back({"conv_1d.weight", {n, 1, s.conv}});
  out.push_back({"conv_1d.bias", {n}});
  for (const char* name : {"rg_lru.input_gate", "rg_lru.recurrent_gate"}) {
    out.push_back({std::string(name) + "_weight", {s.blocks, w, w}});
    out.push_back({std::string(name) + "_bias", {s.blocks, w}});
  }
  out.push_back({"rg_lru.recurrent_param", {n}});
  return out;
}

class RgLru : public TokenMixer {
 public:
  RgLru(const Params& p, int64_t d_model, WeightMap weights)
      : d_model_(d_model), shape_(read_shape(p, d_model)), activation_(read_activation(p)),
        info_(make_info(p, d_model)), w_(std::move(weights)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, "rg_lru");
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor window = kept_tensor(state, "conv_v"), before = window;
    at::Tensor u = convolve(in, window, hooks), gates_read = u;
    // A split input is the value's alone: the gates mix the channels of a block and read the whole input.
    if (in.split.count("v")) {
      HookScope quiet;
      gates_read = convolve({in.x, {}, nullptr}, before, quiet);
    }
    const RgLruGates gates = rg_lru_gates(gates_read.to(type), gate_weights(type), hooks.first_pos());
    at::Tensor k = hooks.apply("hook_k", gates.k.unsqueeze(3)), v = hooks.apply("hook_v", u.unsqueeze(3));
    at::Tensor g = hooks.apply("hook_decay", gates.g.unsqueeze(3));
    const VectorInput r{k.squeeze(3).to(type), v.squeeze(3).to(type), g.squeeze(3).to(type)};
    at::Tensor h = kept_vector(state, r.v, kKind);
    at::Tensor z = run_vector(r, h, hooks, run.form, kKind);
    keep_vector(state, h);
    if (state && shape_.conv > 1) state->tensors["conv_v"] = window;
    at::Tensor gate = project(in, "gate", "linear_y");
    gate = activation_ == "gelu_tanh" ? at::gelu(gate, "tanh") : activate(activation_, gate);
    z = only_read(z, run);
    gate = only_read(gate, run);
    z = hooks.apply("hook_z", z.to(in.x.scalar_type()).unsqueeze(3));
    return project_out(z * hooks.apply("hook_gate", gate), w_.at("linear_out.weight"), hooks) + w_.at("linear_out.bias");
  }

 private:
  at::Tensor project(const MixerInput& in, const char* role, const std::string& name) const {
    return project_heads(in, role, w_.at(name + ".weight"), w_.at(name + ".bias"), shape_.width, shape_.width);
  }
  // linear_x and the convolution: [batch, pos, channel]. window: in, the inputs before x[:, 0]; out, the last ones.
  at::Tensor convolve(const MixerInput& in, at::Tensor& window, HookScope& hooks) const {
    at::Tensor x = hooks.apply("hook_v_pre_conv", project(in, "v", "linear_x")).squeeze(3), windows;
    if (hooks.wants("hook_conv_state")) windows = hooks.apply("hook_conv_state", conv_windows(x, shape_.conv, window));
    at::Tensor y = short_conv(x, w_.at("conv_1d.weight"), w_.at("conv_1d.bias"), &window, false);
    if (!hooks.changes("hook_conv_state")) return y;
    return conv_from_windows(windows, w_.at("conv_1d.weight"), w_.at("conv_1d.bias"), false);
  }
  RgLruWeights gate_weights(at::ScalarType type) const {
    auto get = [&](const char* name) { return w_.at(std::string("rg_lru.") + name).to(type); };
    return {get("input_gate_weight"), get("input_gate_bias"), get("recurrent_gate_weight"), get("recurrent_gate_bias"),
            get("recurrent_param")};
  }

  int64_t d_model_;
  Shape shape_;
  std::string activation_;
  MixerInfo info_;
  WeightMap w_;
};

// x [batch, pos, channel] from position 0 on, Lambda [channel], W_i, W_r [block, w, w], b_i, b_r [block, w] → o (every
// state), a (the decay), final_state, and A [batch, channel, q_pos, k_pos] when implied weights are asked for.
MixerOpResult rg_lru_op(const MixerOpRequest& request) {
  const at::Tensor x = op_input(request, "x", 3);
  const RgLruWeights w{op_input(request, "W_i", 3), op_input(request, "b_i", 2), op_input(request, "W_r", 3),
                       op_input(request, "b_r", 2), op_input(request, "Lambda", 1)};
  const int64_t blocks = w.input.size(0), n = x.size(2), width = w.input.size(1);
  const std::vector<int64_t> matrix = {blocks, width, width}, bias = {blocks, width};
  if (blocks * width != n || w.input.sizes() != at::IntArrayRef(matrix) || w.recurrent.sizes() != at::IntArrayRef(matrix) ||
      w.input_bias.sizes() != at::IntArrayRef(bias) || w.recurrent_bias.sizes() != at::IntArrayRef(bias) ||
      w.lambda.size(0) != n)
    throw Error(StatusCode::kBadInput, "the inputs do not fit x's shape " + c10::str(x.sizes()) + ": W_i and W_r [block, w, w], "
                                           "b_i and b_r [block, w] and Lambda [channel] with block * w = channel");
  const RgLruGates gates = rg_lru_gates(x, w, 0);
  const VectorInput in{gates.k, x, gates.g};
  HookScope nothing;
  MixerOpResult out;
  at::Tensor h;
  out["o"] = run_vector(in, h, nothing, request.form, kKind);
  out["a"] = gates.g.exp();
  out["final_state"] = h;
  if (request.states) out["states"] = out["o"];
  if (request.implied) out["A"] = vector_pattern(in);
  return out;
}

}  // namespace

void register_rg_lru(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2402.19427";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<RgLru>(p, d_model, std::move(w));
  };
  k.op = rg_lru_op;
  k.cases = rg_lru_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
