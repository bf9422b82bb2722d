#include "core/mixers/mamba1/parts.h"
#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "mamba1";

}  // namespace

Mamba1Config read_mamba1(const Params& p, int64_t d_model) {
  Mamba1Config c;
  c.d_model = d_model;
  c.d_inner = p.get_int("d_inner");
  c.state_size = p.get_int("state_size");
  c.dt_rank = p.get_int("dt_rank");
  c.conv_size = p.get_int("conv_size", 4);
  check_size(kKind, "conv_size", c.conv_size, 1 << 12);
  check_size(kKind, "state_size", c.state_size, 1 << 16);
  for (auto [name, n] : {std::pair{"d_model", c.d_model}, {"d_inner", c.d_inner}, {"dt_rank", c.dt_rank}})
    check_size(kKind, name, n, 1 << 20);
  c.conv_bias = p.get_bool("conv_bias", c.conv_bias);
  c.in_bias = p.get_bool("in_bias", c.in_bias);
  c.out_bias = p.get_bool("out_bias", c.out_bias);
  c.bcdt_norm = p.get_bool("has_bcdt_norm", c.bcdt_norm);
  c.bcdt_norm_weight = p.get_bool("bcdt_norm_weight", c.bcdt_norm_weight);
  c.bcdt_norm_eps = p.get_float("bcdt_norm_eps", c.bcdt_norm_eps);
  if (!(c.bcdt_norm_eps > 0))
    throw Error(StatusCode::kBadInput, "bcdt_norm_eps is " + std::to_string(c.bcdt_norm_eps) +
                                           ", expected a positive number", "mixer mamba1");
  return c;
}

MixerInfo mamba1_info(const Mamba1Config& c) {
  const int64_t n = c.d_inner, d_state = c.state_size;
  MixerInfo info;
  info.kind = kKind;
  info.recurrent = true;
  info.heads = info.kv_heads = n;
  info.d_k = d_state;
  info.d_v = 1;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "decay", "gate"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 matrix = {"batch", "pos", "head", "d_k", "d_v"};
  const std::vector<int64_t> one = {-1, -1, n, 1}, shared = {-1, -1, 1, d_state}, state = {-1, -1, n, d_state, 1};
  const std::string once = "one for all channels; one a channel with a split input";
  info.points = {
      {"hook_v_pre_conv", by_head, one, false, "x; every channel is a head. B, C and dt follow it"},
      {"hook_conv_state", {"batch", "pos", "channel", "width"}, {-1, -1, n, c.conv_size}, true,
       "the token's own input last; B, C and dt follow it"},
      {"hook_v", by_head, one, false, "x after the convolution, as the value: B, C and dt do not follow it"},
      {"hook_k", by_head, shared, false, "B, " + once},
      {"hook_q", by_head, shared, false, "C, " + once},
      {"hook_dt", {"batch", "pos", "head"}, {-1, -1, n}, false, "step size"},
      {"hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, n, d_state}, true, "log of the decay, dt A"},
      {"hook_state", matrix, state, true, "d_k × 1"},
      {"hook_state_write", matrix, state, true, "d_k × 1: dt B x"},
      {"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, n, -1, -1}, true,
       "a matrix a channel, the skip D on the diagonal; may be negative, rows need not sum to 1"},
      {"hook_pattern_residual", {"batch", "head"}, {-1, n}, true, "|A v - z| / |z|; z without the incoming state's share"},
      {"hook_z", values, one, false, "with the skip D x; before the gate"},
      {"hook_gate", values, one, false, "after its activation"},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, n, c.d_model}, true,
       c.out_bias ? "a channel's own contribution, without the output bias" : "a channel's own contribution"}};
  return info;
}

std::vector<WeightSpec> mamba1_weights(const Mamba1Config& c) {
  std::vector<WeightSpec> w = {{"in_proj.weight", {2 * c.d_inner, c.d_model}},
                               {"conv1d.weight", {c.d_inner, 1, c.conv_size}},
                               {"x_proj.weight", {c.dt_rank + 2 * c.state_size, c.d_inner}},
                               {"dt_proj.weight", {c.d_inner, c.dt_rank}},
                               {"dt_proj.bias", {c.d_inner}},
                               {"A_log", {c.d_inner, c.state_size}},
                               {"D", {c.d_inner}},
                               {"out_proj.weight", {c.d_model, c.d_inner}}};
  if (c.conv_bias) w.push_back({"conv1d.bias", {c.d_inner}});
  if (c.in_bias) w.push_back({"in_proj.bias", {2 * c.d_inner}});
  if (c.out_bias) w.push_back({"out_proj.bias", {c.d_model}});
  if (c.bcdt_norm && c.bcdt_norm_weight) {
    w.push_back({"dt_norm.weight", {c.dt_rank}});
    w.push_back({"b_norm.weight", {c.state_size}});
    w.push_back({"c_norm.weight", {c.state_size}});
  }
  return w;
}

}  // namespace microtome::mixers
