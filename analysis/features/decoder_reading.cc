#include "analysis/features/decoder_reading.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "analysis/engine/layers.h"
#include "core/model/weights.h"

namespace microtome::analyses {
namespace {

bool ends_with(const std::string& s, const std::string& end) { return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0; }

// Largest first, equal ones by index: topk alone leaves the order of equal numbers open.
std::pair<at::Tensor, at::Tensor> largest(const at::Tensor& rows, int64_t count, bool smallest = false) {
  auto [value, index] = rows.topk(count, -1, !smallest, true);
  at::Tensor by_index = index.argsort(-1, false);
  value = value.gather(-1, by_index);
  index = index.gather(-1, by_index);
  at::Tensor order = value.argsort(/*stable=*/true, -1, /*descending=*/!smallest);
  return {value.gather(-1, order).to(at::kCPU, at::kDouble), index.gather(-1, order).to(at::kCPU)};
}

}  // namespace

WayToResidual way_to_residual(const Model& model, const std::string& hook, int64_t d_out) {
  using engine::block_point;
  const ModelConfig& c = model.config();
  WayToResidual way;
  try {
    engine::require_linear_readout(model, "the logits of a feature");
  } catch (const Error& e) {
    way.why_not = e.status().what();
    return way;
  }
  const int64_t layer = layer_of_hook(hook);
  const std::string point = layer < 0 ? hook : hook.substr(hook.find('.', hook.find('.') + 1) + 1);
  auto matrix = [&](const std::string& name, double scale, const char* post_norm) {
    at::Tensor w = model.weights().find(block_point(layer, name));
    if (!w.defined() || w.dim() != 2 || w.size(1) != d_out || w.size(0) != c.d_model || engine::has_point(model, layer, post_norm)) {
      way.why_not = "what is written at '" + hook + "' does not reach the residual stream through one matrix";
      return;
    }
    way.matrix = scale == 1 ? w : w * scale;
  };
  if (point == "hook_embed" || ends_with(point, "hook_resid_pre") || ends_with(point, "hook_resid_mid") || ends_with(point, "hook_resid_post") ||
      point == "hook_attn_out" || point == "hook_mlp_out") {
    if (d_out != c.d_model) way.why_not = "the dictionary's output is not as wide as the residual stream";
  } else if (layer >= 0 && point == "attn.hook_z" && model.mixer_info(layer).kind == "softmax_attention" && !engine::has_point(model, layer, "attn.hook_z_normalized") && !engine::has_point(model, layer, "attn.hook_gate")) {
    matrix("attn.o_proj.weight", c.layers[static_cast<size_t>(layer)].mixer_params.get_float("multiplier_out", 1.0), "ln1_post.hook_scale");
  } else if (layer >= 0 && point == "mlp.hook_post" && c.layers[static_cast<size_t>(layer)].channel.experts.count == 0 && !c.layers[static_cast<size_t>(layer)].channel.receptance) {
    matrix("mlp.down.weight", c.layers[static_cast<size_t>(layer)].channel.down_scale, "ln2_post.hook_scale");
  } else {
    way.why_not = "what is written at '" + hook + "' reaches the logits through parts that are not linear in it";
  }
  return way;
}

TopLogits top_logits(const Model& model, const Dictionary& dictionary, const WayToResidual& way, const std::vector<int64_t>& features, int64_t count, Progress& progress) {
  at::NoGradGuard no_grad;
  const int64_t n = static_cast<int64_t>(features.size()), step = engine::logit_rows(model);
  count = std::min(count, model.config().vocab_size);
  at::Tensor directions = dictionary.directions();
  std::vector<at::Tensor> parts[4];
  for (int64_t from = 0; from < n; from += step) {
    progress.step(from, n, "logits");
    std::vector<int64_t> some(features.begin() + from, features.begin() + std::min(n, from + step));
    at::Tensor d = directions.index_select(0, at::tensor(some, at::kLong).to(directions.device())).to(model.device(), model.dtype());
    if (way.matrix.defined()) d = at::linear(d, way.matrix);
    at::Tensor logits = engine::direct_logits(model, d);
    auto [top, top_id] = largest(logits, count);
    auto [bottom, bottom_id] = largest(logits, count, true);
    for (auto [k, t] : {std::pair{0, &top_id}, {1, &top}, {2, &bottom_id}, {3, &bottom}}) parts[k].push_back(*t);
  }
  if (n == 0) {
    at::Tensor none = at::empty({0, count}, at::kLong), values = at::empty({0, count}, at::kDouble);
    return {none, values, none, values};
  }
  return {at::cat(parts[0]), at::cat(parts[1]), at::cat(parts[2]), at::cat(parts[3])};
}

Nearest nearest_directions(const Dictionary& dictionary, const std::vector<int64_t>& features, int64_t count, Progress& progress) {
  at::NoGradGuard no_grad;
  at::Tensor d = dictionary.directions().to(at::kFloat);
  d = d / d.norm(2, {-1}, true).clamp_min(1e-30);
  const int64_t n = static_cast<int64_t>(features.size()), all = d.size(0), step = std::max<int64_t>(1, (int64_t{1} << 24) / all);
  count = std::min(count, all - 1);
  at::Tensor turned = d.t();
  std::vector<at::Tensor> index, value;
  for (int64_t from = 0; from < n; from += step) {
    progress.step(from, n, "neighbours");
    std::vector<int64_t> some(features.begin() + from, features.begin() + std::min(n, from + step));
    at::Tensor own = at::tensor(some, at::kLong).to(d.device());
    at::Tensor cosine = at::matmul(d.index_select(0, own), turned);
    cosine.scatter_(1, own.unsqueeze(1), -INFINITY);
    auto [v, i] = largest(cosine, count);
    value.push_back(v);
    index.push_back(i);
  }
  if (n == 0) return {at::empty({0, count}, at::kLong), at::empty({0, count}, at::kDouble)};
  return {at::cat(index), at::cat(value)};
}

}  // namespace microtome::analyses
