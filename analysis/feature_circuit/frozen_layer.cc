#include "analysis/feature_circuit/frozen_layer.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>

#include "analysis/engine/layers.h"
#include "core/model/weights.h"

namespace microtome::feature_circuit {
namespace {

using engine::block_point;
using engine::has_point;

constexpr int64_t kScratchBytes = int64_t{64} << 20;   // larger patterns lie in a file
constexpr double kTolerance = 2e-3;

at::Tensor wide(const at::Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(at::kFloat); }

at::Tensor weight(const Model& model, int64_t layer, const std::string& name) {
  at::Tensor t = model.weights().find(block_point(layer, "attn." + name));
  return t.defined() ? wide(t) : t;
}

// What a elementwise step made of x, as a factor; 0 where x is 0 (it then carries nothing).
at::Tensor factor(const at::Tensor& after, const at::Tensor& before) {
  return at::where(before == 0, at::zeros_like(before), after / before);
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm().clamp_min(1e-30)).item<double>();
}

}  // namespace

at::Tensor to_scratch(const at::Tensor& t) {
  if (!t.is_cpu() || t.numel() * t.element_size() < kScratchBytes) return t.contiguous();
  const std::string name = (std::filesystem::temp_directory_path() / ("microtome-pattern-" + std::to_string(::getpid()) + "-" +
                                                                      std::to_string(reinterpret_cast<uintptr_t>(t.unsafeGetTensorImpl())))).string();
  at::Tensor out = at::from_file(name, true, t.numel(), t.options()).view(t.sizes());
  ::unlink(name.c_str());
  out.copy_(t);
  return out;
}

void FrozenNorm::capture(const Model& model, const std::string& name, HookPlan& plan) {
  if (model.catalogue().find(name + ".hook_scale")) plan.capture(name + ".hook_scale");
}

FrozenNorm::FrozenNorm(const Model& model, const std::string& name, const NormConfig& config, const ActivationCache& cache) {
  none = config.kind == NormConfig::Kind::kNone;
  if (none) return;
  centres = config.kind == NormConfig::Kind::kLayer;
  scale = wide(cache.get(name + ".hook_scale").select(0, 0));
  gain = model.weights().find(name + ".weight");
  bias = model.weights().find(name + ".bias");
  if (gain.defined()) gain = wide(gain) + config.offset;
  if (bias.defined()) bias = wide(bias);
}

at::Tensor FrozenNorm::divide(const at::Tensor& x) const {
  if (none) return x;
  return (centres ? x - x.mean(-1, true) : x) / scale;
}

at::Tensor FrozenNorm::apply(const at::Tensor& x) const {
  at::Tensor y = divide(x);
  if (gain.defined()) y = y * gain;
  return bias.defined() ? y + bias : y;
}

at::Tensor FrozenNorm::back_divided(const at::Tensor& g) const {
  if (none) return g;
  at::Tensor out = g / scale.narrow(0, 0, g.size(1));
  return centres ? out - out.mean(-1, true) : out;
}

at::Tensor FrozenNorm::back(const at::Tensor& g) const { return back_divided(gain.defined() ? g * gain : g); }

FrozenNorm FrozenNorm::at(int64_t position) const {
  FrozenNorm out = *this;
  if (!none) out.scale = scale.narrow(0, position, 1);
  return out;
}

void FrozenMixer::capture(const Model& model, int64_t layer, HookPlan& plan) {
  for (const char* point : {"attn.hook_v", "attn.hook_v_pre_conv", "attn.hook_pattern", "attn.hook_z", "attn.hook_z_normalized", "attn.hook_gate"})
    if (has_point(model, layer, point)) plan.capture(block_point(layer, point));
}

FrozenMixer FrozenMixer::make(const Model& model, int64_t layer, const ActivationCache& cache, const at::Tensor& x,
                              const std::function<at::Tensor(const at::Tensor&)>& behind, const at::Tensor& out) {
  const MixerInfo& info = model.mixer_info(layer);
  auto no = [&](const std::string& why) {
    return Error(StatusCode::kUnsupported, "layer " + std::to_string(layer) + " (" + info.kind + ") has no frozen linear form: " + why, "attribution",
                 "use a model whose mixers have values, a pattern and an output projection");
  };
  auto got = [&](const char* point) {
    const std::string name = block_point(layer, point);
    return cache.has(name) ? wide(cache.get(name).select(0, 0)) : at::Tensor();
  };
  FrozenMixer m;
  m.w_v = weight(model, layer, "v_proj.weight");
  m.w_o = weight(model, layer, "o_proj.weight");
  at::Tensor v = got("attn.hook_v"), z = got("attn.hook_z"), pattern = got("attn.hook_pattern");
  if (!m.w_v.defined() || !m.w_o.defined() || !v.defined() || !z.defined() || !pattern.defined()) throw no("its values, pattern or projections are not there by name");
  if (at::Tensor up = weight(model, layer, "v_adapter.1.weight"); up.defined()) m.w_v = m.w_v + at::matmul(up, weight(model, layer, "v_adapter.0.weight"));
  m.b_v = weight(model, layer, "v_proj.bias");
  m.b_o = weight(model, layer, "o_proj.bias");
  m.scale = model.config().layers[static_cast<size_t>(layer)].mixer_params.get_float("multiplier_out", 1.0);
  const int64_t pos = x.size(0);
  m.heads = pattern.size(0);
  m.width = v.size(2);
  if (pattern.dim() != 3 || pattern.size(1) != pos || pattern.size(2) % pos != 0) throw no("its pattern is no matrix of positions");
  m.steps = pattern.size(2) / pos;
  m.value_heads = v.size(1) / m.steps;
  if (v.size(1) % m.steps != 0 || m.heads % m.value_heads != 0 || z.size(1) != m.heads || z.size(2) != m.width || v.size(1) * m.width != m.w_v.size(0) ||
      m.w_o.size(1) != m.heads * m.width)
    throw no("its values have other sizes than its pattern");
  at::Tensor taps = weight(model, layer, "v_conv1d.weight");
  if (taps.defined()) {
    m.conv = taps.select(1, 0);
    m.conv_bias = weight(model, layer, "v_conv1d.bias");
  }
  at::Tensor flat = m.apply_values(x.unsqueeze(0)).squeeze(0), seen = v.flatten(1);
  const bool clips = model.config().layers[static_cast<size_t>(layer)].mixer_params.get_float("clip_qkv", 0.0) > 0;
  if (m.conv.defined() || clips) m.value_factor = factor(seen, flat);
  else if (relative(flat, seen) > kTolerance) throw no("its values are no linear map of what it reads");
  at::Tensor read = z.flatten(1), used = got("attn.hook_z_normalized"), gate = got("attn.hook_gate");
  if (used.defined()) m.out_factor = factor(used.flatten(1), read);
  if (gate.defined()) {
    if (gate.numel() != read.numel()) throw no("its gate has another size than its read-out");
    m.out_factor = m.out_factor.defined() ? m.out_factor * gate.flatten(1) : gate.flatten(1).contiguous();
  }
  m.pattern = to_scratch(pattern);
  if (double off = relative(behind(m.apply(x.unsqueeze(0)).squeeze(0)), out); !(off <= kTolerance)) throw no("it misses the mixer's output by " + engine::short_number(100 * off) + " %");
  return m;
}

at::Tensor FrozenMixer::apply_values(const at::Tensor& x) const {
  at::Tensor v = at::matmul(x, w_v.t());
  if (b_v.defined()) v = v + b_v;
  if (conv.defined()) {
    const int64_t width_ = conv.size(1), pos = x.size(1);
    at::Tensor padded = at::constant_pad_nd(v, {0, 0, width_ - 1, 0}), sum = at::zeros_like(v);
    for (int64_t w = 0; w < width_; ++w) sum = sum + padded.narrow(1, w, pos) * conv.select(1, w);
    v = conv_bias.defined() ? sum + conv_bias : sum;
  }
  return value_factor.defined() ? v * value_factor : v;
}

at::Tensor FrozenMixer::apply(const at::Tensor& x) const {
  const int64_t batch = x.size(0), pos = x.size(1);
  at::Tensor v = apply_values(x).view({batch, pos * steps, value_heads, width});
  if (value_heads != heads) v = v.repeat_interleave(heads / value_heads, 2);
  at::Tensor z = at::matmul(pattern, v.transpose(1, 2)).transpose(1, 2).flatten(2);
  if (out_factor.defined()) z = z * out_factor;
  at::Tensor y = at::matmul(z, w_o.t());
  if (b_o.defined()) y = y + b_o;
  return scale == 1 ? y : y * scale;
}

at::Tensor FrozenMixer::back(const at::Tensor& g) const {
  const int64_t batch = g.size(0), n = g.size(1);
  at::Tensor z = at::matmul(scale == 1 ? g : g * scale, w_o);
  if (out_factor.defined()) z = z * out_factor.narrow(0, 0, n);
  // Aᵀ by heads, the batch beside the width: one product a head.
  z = z.view({batch, n, heads, width}).permute({2, 1, 0, 3}).reshape({heads, n, batch * width});
  at::Tensor v = at::matmul(pattern.narrow(1, 0, n).narrow(2, 0, n * steps).transpose(1, 2), z);
  v = v.view({heads, n * steps, batch, width}).permute({2, 1, 0, 3});
  if (value_heads != heads) v = v.unflatten(2, {value_heads, heads / value_heads}).sum(3);
  v = v.reshape({batch, n, steps * value_heads * width});
  if (value_factor.defined()) v = v * value_factor.narrow(0, 0, n);
  if (conv.defined()) {
    const int64_t width_ = conv.size(1);
    at::Tensor padded = at::constant_pad_nd(v, {0, 0, 0, width_ - 1}), sum = at::zeros_like(v);
    for (int64_t w = 0; w < width_; ++w) sum = sum + padded.narrow(1, width_ - 1 - w, n) * conv.select(1, w);
    v = sum;
  }
  return at::matmul(v, w_v);
}

at::Tensor FrozenMixer::back_heads(const at::Tensor& g, int64_t position) const {
  const int64_t n = position + 1, group = heads / value_heads;
  at::Tensor z = at::matmul(scale == 1 ? g : g * scale, w_o);
  if (out_factor.defined()) z = z * out_factor.select(0, position);
  // [head, pos, step, width]
  at::Tensor v = (pattern.select(1, position).narrow(1, 0, n * steps).unsqueeze(2) * z.view({heads, 1, width})).view({heads, n, steps, width});
  const auto own = [&](const at::Tensor& t, int64_t axis) {   // values' axis → [… head, step, width …]: those that each head reads
    std::vector<int64_t> order;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t j = 0; j < steps; ++j)
        for (int64_t w = 0; w < width; ++w) order.push_back((j * value_heads + h / group) * width + w);
    return t.index_select(axis, at::tensor(order, at::TensorOptions().dtype(at::kLong)).to(t.device()));
  };
  if (value_factor.defined()) v = v * own(value_factor.narrow(0, 0, n), 1).view({n, heads, steps, width}).transpose(0, 1);
  if (conv.defined()) {
    const int64_t taps = conv.size(1);
    at::Tensor kernel = own(conv, 0).view({heads, 1, steps, width, taps});
    at::Tensor padded = at::constant_pad_nd(v, {0, 0, 0, 0, 0, taps - 1}), sum = at::zeros_like(v);
    for (int64_t w = 0; w < taps; ++w) sum = sum + padded.narrow(1, taps - 1 - w, n) * kernel.select(4, w);
    v = sum;
  }
  return at::bmm(v.reshape({heads, n, steps * width}), own(w_v, 0).view({heads, steps * width, w_v.size(1)}));
}

at::Tensor FrozenMixer::ov(int64_t head) const {
  const int64_t value_head = head / (heads / value_heads);
  at::Tensor out = at::matmul(w_o.narrow(1, head * width, width), w_v.narrow(0, value_head * width, width));
  return scale == 1 ? out : out * scale;
}

}  // namespace microtome::feature_circuit
