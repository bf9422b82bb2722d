#include <cmath>

#include "core/mixers/mamba2/parts.h"
#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "mamba2";

[[noreturn]] void bad(const std::string& what) { throw Error(StatusCode::kBadInput, what, "mixer mamba2"); }

void divides(int64_t part, int64_t whole, const char* part_name, const char* whole_name) {
  if (whole % part != 0)
    bad(std::string(part_name) + " " + std::to_string(part) + " does not divide " + whole_name + " " +
        std::to_string(whole));
}

}  // namespace

std::vector<int64_t> Mamba2Config::group_of_heads() const {
  std::vector<int64_t> out;
  for (int64_t h = 0; h < heads; ++h) out.push_back(tiled ? h % groups : h / (heads / groups));
  return out;
}

Mamba2Config read_mamba2(const Params& p, int64_t d_model) {
  Mamba2Config c;
  c.d_model = d_model;
  c.heads = p.get_int("num_heads");
  c.head_dim = p.get_int("head_dim");
  c.state_size = p.get_int("state_size");
  c.groups = p.get_int("n_groups", 1);
  c.conv_size = p.get_int("conv_size", 4);
  c.norm_groups = p.get_int("norm_groups", 1);
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  check_size(kKind, "n_groups", c.groups, 1 << 16);
  check_size(kKind, "conv_size", c.conv_size, 1 << 12);
  for (auto [name, n] : {std::pair{"d_model", c.d_model}, {"head_dim", c.head_dim}, {"state_size", c.state_size},
                         {"norm_groups", c.norm_groups}})
    check_size(kKind, name, n, 1 << 20);
  divides(c.groups, c.heads, "n_groups", "num_heads");
  divides(c.norm_groups, c.inner(), "norm_groups", "num_heads * head_dim");
  const std::string order = p.get_string("group_order", "blocks");
  if (order != "blocks" && order != "tiled") bad("group_order is '" + order + "', expected blocks or tiled");
  c.tiled = order == "tiled";
  c.conv_bias = p.get_bool("conv_bias", c.conv_bias);
  c.in_bias = p.get_bool("in_bias", c.in_bias);
  c.out_bias = p.get_bool("out_bias", c.out_bias);
  c.dt_min = p.get_float("dt_min", c.dt_min);
  c.dt_max = p.get_float("dt_max", c.dt_max);
  if (!(c.dt_min >= 0 && c.dt_min < c.dt_max && std::isfinite(c.dt_min)))
    bad("dt_min " + std::to_string(c.dt_min) + " and dt_max " + std::to_string(c.dt_max) +
        " are no range of step sizes, expected 0 <= dt_min < dt_max");
  c.rms_norm = p.get_bool("rms_norm", c.rms_norm);
  c.norm_before_gate = p.get_bool("norm_before_gate", c.norm_before_gate);
  c.norm_eps = p.get_float("norm_eps", c.norm_eps);
  if (!(c.norm_eps > 0)) bad("norm_eps is " + std::to_string(c.norm_eps) + ", expected a positive number");
  for (auto [name, m] : {std::pair{"multiplier_in", &c.multiplier_in}, {"multiplier_out", &c.multiplier_out},
                         {"multiplier_gate", &c.multiplier_gate}, {"multiplier_x", &c.multiplier_x},
                         {"multiplier_b", &c.multiplier_b}, {"multiplier_c", &c.multiplier_c},
                         {"multiplier_dt", &c.multiplier_dt}}) {
    *m = p.get_float(name, 1.0);
    if (!std::isfinite(*m)) bad(std::string(name) + " is not a finite number");
  }
  return c;
}

MixerInfo mamba2_info(const Mamba2Config& c) {
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = c.heads;
  info.d_k = c.state_size;
  info.d_v = c.head_dim;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "decay", "gate"};
  const std::string over = c.groups == c.heads ? "" : "over groups; over heads with a split input";
  const std::string order = c.tiled ? ", head h reads group h % groups" : "";
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> group = {-1, -1, c.groups, c.state_size}, v = {-1, -1, c.heads, c.head_dim},
                             s = {-1, -1, c.heads, c.state_size, c.head_dim};
  info.points = {
      {"hook_v_pre_conv", by_head, v, false, "x"},
      {"hook_k_pre_conv", by_head, group, false, over},
      {"hook_q_pre_conv", by_head, group, false, over},
      {"hook_conv_state", {"batch", "pos", "channel", "width"}, {-1, -1, c.conv_channels(), c.conv_size}, true,
       "x, B, C channels as the convolution has them; the token's own input last"},
      {"hook_v", by_head, v, false, "x after the convolution"},
      {"hook_k", by_head, group, false, "B, " + (over.empty() ? "one a head" : over) + order},
      {"hook_q", by_head, group, false, "C, " + (over.empty() ? "one a head" : over) + order},
      {"hook_dt", {"batch", "pos", "head"}, {-1, -1, c.heads}, false, "step size, within its bounds"},
      {"hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, c.heads, 1}, false, "log of the decay, A dt"},
      {"hook_state", matrix, s, true, ""},
      {"hook_state_write", matrix, s, true, "dt B x^T"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true,
       "the matrix the recurrence and the skip D amount to; may be negative, rows need not sum to 1"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, c.heads}, true,
       "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, v, false, "with the skip D x; before gate and norm"},
      {"hook_gate", values, v, false, "after its activation"}};
  if (c.rms_norm)
    info.points.push_back({"hook_z_normalized", values, v, false,
                           c.norm_before_gate ? "after the norm's gain; the gate comes next"
                                              : "after gate and norm, with the norm's gain"});
  info.points.push_back({"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_model}, true,
                         c.out_bias ? "without the output bias" : ""});
  return info;
}

std::vector<WeightSpec> mamba2_weights(const Mamba2Config& c) {
  std::vector<WeightSpec> w = {{"in_proj.weight", {c.in_rows(), c.d_model}},
                               {"conv1d.weight", {c.conv_channels(), 1, c.conv_size}},
                               {"dt_bias", {c.heads}},
                               {"A_log", {c.heads}},
                               {"D", {c.heads}},
                               {"out_proj.weight", {c.d_model, c.inner()}}};
  if (c.conv_bias) w.push_back({"conv1d.bias", {c.conv_channels()}});
  if (c.in_bias) w.push_back({"in_proj.bias", {c.in_rows()}});
  if (c.out_bias) w.push_back({"out_proj.bias", {c.d_model}});
  if (c.rms_norm) w.push_back({"norm.weight", {c.inner()}});
  return w;
}

}  // namespace microtome::mixers
