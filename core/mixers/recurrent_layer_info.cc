#include "core/mixers/feature_maps.h"
#include "core/mixers/recurrent_layer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

namespace microtome::mixers {

namespace {

constexpr int64_t kMostHeads = 1 << 16, kMostWidth = 1 << 20;

[[noreturn]] void bad(const RecurrentLayerConfig& c, const std::string& what) {
  throw Error(StatusCode::kBadInput, what, "mixer " + c.kind);
}

void divides(const RecurrentLayerConfig& c, int64_t part, int64_t whole, const char* part_name,
             const char* whole_name) {
  if (whole % part != 0)
    bad(c, std::string(part_name) + " " + std::to_string(part) + " does not divide " + whole_name + " " +
               std::to_string(whole));
}

constexpr std::array<const char*, 8> kActivations = {"identity", "relu", "silu", "swish",
                                                      "sigmoid",  "elu",  "gelu", "tanh"};

}  // namespace

void check_size(const std::string& kind, const char* param, int64_t value, int64_t most) {
  if (value < 1 || value > most)
    throw Error(StatusCode::kBadInput, std::string(param) + " is " + std::to_string(value) + ", expected 1 to " +
                                           std::to_string(most), "mixer " + kind);
}

RecurrentLayerConfig read_layer_params(const Params& p, int64_t d_model, const std::string& kind, bool gate_default,
                                       bool conv_default) {
  RecurrentLayerConfig c;
  c.kind = kind;
  c.d_model = d_model;
  c.heads = p.get_int("num_heads");
  check_size(kind, "num_heads", c.heads, kMostHeads);
  const int64_t kv = p.get_int("num_kv_heads", c.heads);
  check_size(kind, "num_kv_heads", kv, kMostHeads);
  c.q_heads = c.heads;
  c.k_heads = c.v_heads = c.state_heads = kv;
  c.head_k = p.get_int("head_k");
  c.d_k = c.head_k;
  c.head_v = p.get_int("head_v");
  c.norm_eps = p.get_float("norm_eps", 1e-5);
  c.norm_affine = p.get_bool("elementwise_affine", true);
  if (p.get_bool("use_short_conv", conv_default)) {
    c.conv_size = p.get_int("conv_size", 4);
    check_size(kind, "conv_size", c.conv_size, 1 << 12);
    c.conv_bias = p.get_bool("conv_bias", false);
  }
  if (p.get_bool("use_output_gate", gate_default)) {
    c.gate = p.get_string("gate_activation", "swish");
    if (c.gate == "silu") c.gate = "swish";
    if (c.gate != "swish" && c.gate != "sigmoid")
      throw Error(StatusCode::kUnsupported, "gate_activation is '" + c.gate + "'", "mixer " + kind,
                  "use swish, silu or sigmoid");
  }
  return c;
}

void check_layer(const RecurrentLayerConfig& c) {
  check_size(c.kind, "d_model", c.d_model, kMostWidth);
  for (auto [name, n] : {std::pair{"num_heads", c.heads}, {"q heads", c.q_heads}, {"num_kv_heads", c.k_heads},
                         {"v heads", c.v_heads}, {"state heads", c.state_heads}})
    check_size(c.kind, name, n, kMostHeads);
  check_size(c.kind, "head_k", c.head_k, kMostWidth);
  check_size(c.kind, "head_v", c.head_v, kMostWidth);
  check_size(c.kind, "d_k", c.d_k, kMostWidth);
  check_size(c.kind, "steps", c.steps, 64);
  divides(c, c.q_heads, c.heads, "num_heads", "the output heads");
  divides(c, c.k_heads, c.state_heads, "num_kv_heads", "the state heads");
  divides(c, c.v_heads, c.state_heads, "num_kv_heads", "the state heads");
  divides(c, c.state_heads, c.heads, "num_kv_heads", "num_heads");
  if (!(c.norm_eps > 0)) bad(c, "norm_eps is " + std::to_string(c.norm_eps) + ", expected a positive number");
  if (c.rotary && c.d_k % 2 != 0) bad(c, "head_k is " + std::to_string(c.d_k) + ", but rotary needs an even width");
  if (c.rotary && !(c.rope_theta > 0)) bad(c, "rope_theta is " + std::to_string(c.rope_theta) + ", expected > 0");
}

MixerInfo layer_info(const RecurrentLayerConfig& c) {
  check_layer(c);
  MixerInfo info;
  info.kind = c.kind;
  info.recurrent = true;
  info.heads = c.heads;
  info.kv_heads = c.state_heads;
  const int64_t rows = c.slots ? c.slots : c.d_k;
  info.d_k = rows;
  info.d_v = c.head_v;
  info.forms = {MixerForm::kNaive, MixerForm::kRecurrent, MixerForm::kChunk};
  info.inputs = {"q", "k", "v"};
  if (c.conv_size > 1) {
    // What the convolution's earlier taps read; without a split input of their own they read what the token's own tap does.
    info.inputs.insert(info.inputs.end(), {"q_conv", "k_conv"});
    if (c.conv_v) info.inputs.push_back("v_conv");
  }
  if (c.beta_input) info.inputs.push_back("beta");
  if (c.decay_input) info.inputs.push_back("decay");
  if (!c.gate.empty()) info.inputs.push_back("gate");

  auto add = [&](const char* name, std::vector<std::string> axes, std::vector<int64_t> sizes, bool on_request = false,
                 std::string note = {}) {
    info.points.push_back({name, std::move(axes), std::move(sizes), on_request, std::move(note)});
  };
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  const bool grouped = c.state_heads != c.heads;
  const std::string over_kv = grouped ? "over key/value heads" : "";
  const std::string by_step = c.steps > 1 ? "step j of head h is j * heads + h" : over_kv;
  if (c.conv_size) {
    add("hook_q_pre_conv", by_head, {-1, -1, c.q_heads, c.head_k});
    add("hook_k_pre_conv", by_head, {-1, -1, c.k_heads * c.steps, c.head_k});
    if (c.conv_v) add("hook_v_pre_conv", by_head, {-1, -1, c.v_heads * c.steps, c.head_v});
    int64_t channels = (c.q_heads + c.k_heads * c.steps) * c.head_k + (c.conv_v ? c.v_heads * c.steps * c.head_v : 0);
    add("hook_conv_state", {"batch", "pos", "channel", "width"}, {-1, -1, channels, c.conv_size}, true,
        c.conv_v ? "q, k, v channels one after the other; the token's own input last"
                 : "q and k channels one after the other; the token's own input last");
  }
  add("hook_q", by_head, {-1, -1, c.q_heads, c.d_k});
  add("hook_k", by_head, {-1, -1, c.k_heads * c.steps, c.d_k}, false, by_step);
  add("hook_v", by_head, {-1, -1, c.v_heads * c.steps, c.head_v}, false, by_step);
  if (c.erase_key) add("hook_erase_key", by_head, {-1, -1, c.k_heads, c.d_k}, false, "finds what is erased");
  if (c.rotary) {
    add("hook_rot_q", by_head, {-1, -1, c.q_heads, c.d_k});
    add("hook_rot_k", by_head, {-1, -1, c.k_heads, c.d_k}, false, over_kv);
  }
  if (c.decay_width)
    add("hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, c.decay_heads, c.decay_width}, false,
        c.decay_input ? "log of the decay" : "log of the decay, a constant of the head");
  if (c.beta_heads && c.slots)
    add(c.beta_point.c_str(), {"batch", "pos", "head", "d_k"}, {-1, -1, c.beta_heads, c.slots}, false, "one a slot");
  else if (c.beta_heads)
    add(c.beta_point.c_str(), {"batch", "pos", "head"}, {-1, -1, c.beta_heads * c.steps}, false, c.steps > 1 ? by_step : "");
  const std::vector<std::string> matrix = {"batch", "pos", "head", "d_k", "d_v"};
  add("hook_state", matrix, {-1, -1, c.state_heads, rows, c.head_v}, true, over_kv);
  add("hook_state_write", matrix, {-1, -1, c.state_heads, rows, c.head_v}, true, over_kv);
  if (c.normalized)
    add("hook_state_normalizer", {"batch", "pos", "head", "d_k"}, {-1, -1, c.state_heads, c.d_k}, true, over_kv);
  add("hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -c.steps}, true,
      std::string("the matrix the recurrence amounts to; may be negative, rows need not sum to 1") +
          (c.steps > 1 ? "; k_pos counts steps, token * steps + step" : ""));
  add("hook_pattern_residual", {"batch", "head"}, {-1, c.heads}, true,
      "|A v - z| / |z|; z without the incoming state's share");
  add("hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v}, false, "before norm and gate");
  if (!c.norm.empty()) add("hook_z_normalized", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v});
  if (!c.gate.empty())
    add("hook_gate", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v}, false, "after its activation");
  add("hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_model}, true);
  return info;
}

std::vector<WeightSpec> layer_weights(const RecurrentLayerConfig& c) {
  check_layer(c);
  std::vector<WeightSpec> w = {{c.q_name + ".weight", {c.q_heads * c.head_k, c.d_model}},
                               {c.k_name + ".weight", {c.k_heads * c.steps * c.head_k, c.d_model}},
                               {c.v_name + ".weight", {c.v_heads * c.steps * c.head_v, c.d_model}},
                               {c.o_name + ".weight", {c.d_model, c.heads * c.head_v}}};
  if (!c.gate.empty() && c.gate_rank == 0) w.push_back({c.gate_name + ".weight", {c.heads * c.head_v, c.d_model}});
  if (!c.gate.empty() && c.gate_rank > 0) {
    w.push_back({c.gate_name + ".0.weight", {c.gate_rank, c.d_model}});
    w.push_back({c.gate_name + ".1.weight", {c.heads * c.head_v, c.gate_rank}});
    if (c.gate_bias) w.push_back({c.gate_name + ".1.bias", {c.heads * c.head_v}});
  }
  if (!c.norm.empty() && c.norm_affine) w.push_back({c.norm, {c.norm_whole ? c.heads * c.head_v : c.head_v}});
  if (c.conv_size) {
    const std::array<std::pair<const char*, int64_t>, 3> convs = {{{"q_conv1d", c.q_heads * c.head_k},
                                                                   {"k_conv1d", c.k_heads * c.steps * c.head_k},
                                                                   {"v_conv1d", c.v_heads * c.steps * c.head_v}}};
    for (const auto& [name, channels] : convs) {
      if (!c.conv_v && name[0] == 'v') continue;
      w.push_back({std::string(name) + ".weight", {channels, 1, c.conv_size}});
      if (c.conv_bias) w.push_back({std::string(name) + ".bias", {channels}});
    }
  }
  return w;
}

void check_activation(const std::string& kind, const char* param, const std::string& name) {
  if (std::find(kActivations.begin(), kActivations.end(), name) != kActivations.end()) return;
  std::string known;
  for (const char* a : kActivations) known += (known.empty() ? "" : ", ") + std::string(a);
  throw Error(StatusCode::kUnsupported, std::string(param) + " is '" + name + "'", "mixer " + kind,
              "use one of " + known);
}

at::Tensor activate(const std::string& name, const at::Tensor& x) {
  if (name == "identity") return x;
  if (name == "relu") return at::relu(x);
  if (name == "silu" || name == "swish") return at::silu(x);
  if (name == "sigmoid") return at::sigmoid(x);
  if (name == "elu") return elu1(x);
  if (name == "gelu") return at::gelu(x);
  if (name == "tanh") return at::tanh(x);
  check_activation("", "activation", name);
  return x;
}

}  // namespace microtome::mixers
