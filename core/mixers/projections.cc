#include "core/mixers/projections.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/mixers/constants.h"
#include "core/mixers/cursor.h"
#include "core/mixers/frozen_linear.h"
#include "core/mixers/shared_heads.h"
#include "core/model/kernel_library.h"
#include "kernels/short_conv/short_conv.h"

namespace microtome::mixers {

namespace {

std::string shape_text(const at::Tensor& t) {
  std::string out = "[";
  for (int64_t i = 0; i < t.dim(); ++i) out += (i ? ", " : "") + std::to_string(t.size(i));
  return out + "]";
}

// Half types lose too much in sums of squares and angles; float64 stays what it is.
at::Tensor at_least_float32(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

}  // namespace

at::Tensor weight_or_none(const WeightMap& weights, const std::string& name) {
  auto it = weights.find(name);
  return it == weights.end() ? at::Tensor() : it->second;
}

at::Tensor project_heads(const MixerInput& in, const std::string& role, const at::Tensor& weight,
                         const at::Tensor& bias, int64_t heads, int64_t query_heads) {
  const int64_t width = weight.size(0) / heads;
  auto split = in.split.find(role);
  if (split == in.split.end()) {
    at::Tensor y = frozen_linear(in.x, weight, bias);
    return y.view({y.size(0), y.size(1), heads, width});
  }
  const at::Tensor& x = split->second;
  if (x.dim() != 4 || x.size(2) != query_heads || x.size(3) != weight.size(1))
    throw Error(StatusCode::kBadInput, "hook_" + role + "_input has shape " + shape_text(x) +
                                           ", expected [batch, pos, " + std::to_string(query_heads) + ", " +
                                           std::to_string(weight.size(1)) + "]");
  at::Tensor w = weight.view({heads, width, weight.size(1)});
  at::Tensor b = bias.defined() ? bias.view({heads, width}) : at::Tensor();
  if (query_heads != heads) {
    w = w.repeat_interleave(query_heads / heads, 0);
    if (b.defined()) b = b.repeat_interleave(query_heads / heads, 0);
  }
  at::Tensor y = same_for_heads(x) && !w.requires_grad() ? project_shared(x, w) : at::einsum("bthd,hwd->bthw", {x, w});
  return b.defined() ? y + b : y;
}

at::Tensor project_low_rank(const MixerInput& in, const std::string& role, const at::Tensor& down, const at::Tensor& up,
                            const at::Tensor& bias, int64_t heads, int64_t query_heads,
                            at::Tensor (*act)(const at::Tensor&)) {
  auto narrow = [&](const at::Tensor& x) {
    at::Tensor y = at::linear(x, down);
    return act ? act(y) : y;
  };
  auto split = in.split.find(role);
  MixerInput middle;
  if (split == in.split.end()) middle.x = narrow(in.x);
  else middle.split[role] = narrow(split->second);
  return project_heads(middle, role, up, bias, heads, query_heads);
}

at::Tensor project_out(const at::Tensor& y, const at::Tensor& weight, HookScope& hooks) {
  if (hooks.wants("hook_result")) {
    at::Tensor by_head = weight.view({weight.size(0), y.size(2), y.size(3)});
    at::Tensor result = hooks.apply("hook_result", at::einsum("bthv,dhv->bthd", {y, by_head}));
    if (hooks.changes("hook_result")) return result.sum(2);
  }
  return frozen_linear(y.flatten(2), weight, {});
}

void require_weights(const WeightMap& weights, const std::vector<WeightSpec>& specs, const std::string& kind) {
  for (const WeightSpec& s : specs) {
    auto it = weights.find(s.name);
    if (it == weights.end() || !it->second.defined()) {
      if (s.optional) continue;
      throw Error(StatusCode::kBadInput, "weight '" + s.name + "' is missing", "mixer " + kind);
    }
    if (it->second.sizes() != at::IntArrayRef(s.shape))
      throw Error(StatusCode::kBadInput, "weight '" + s.name + "' has shape " + c10::str(it->second.sizes()) +
                                             ", expected " + c10::str(at::IntArrayRef(s.shape)), "mixer " + kind);
  }
}

at::Tensor one_earlier(const at::Tensor& x, const at::Tensor& before) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[1] = 1;
  at::Tensor first;
  if (before.defined()) {
    if (before.dim() != 3 || before.size(0) != x.size(0) || before.size(1) != 1 || before.size(2) != x.size(-1))
      throw Error(StatusCode::kBadInput, "the kept input of the last position has shape " + shape_text(before) +
                                             ", expected [" + std::to_string(x.size(0)) + ", 1, " +
                                             std::to_string(x.size(-1)) + "]");
    first = (x.dim() == 4 ? before.unsqueeze(2) : before).to(x.options()).expand(shape);
  } else {
    first = x.new_zeros(shape);
  }
  return x.size(1) == 1 ? first : at::cat({first, x.slice(1, 0, x.size(1) - 1)}, 1);
}

at::Tensor rotary(const at::Tensor& x, int64_t first_pos, int64_t rotary_dim, double theta, bool interleaved) {
  at::Tensor pair = at::arange(rotary_dim / 2, at::TensorOptions().dtype(at::kDouble));
  return rotary(x, first_pos, at::pow(theta, pair * (-2.0 / static_cast<double>(rotary_dim))), interleaved, 1);
}

at::Tensor rotary(const at::Tensor& x, int64_t first_pos, const at::Tensor& frequencies, bool interleaved, double factor) {
  const int64_t half = frequencies.size(0), rotary_dim = 2 * half;
  at::Tensor pos = cursor() ? cursor()->position.to(at::kDouble)
                            : at::arange(first_pos, first_pos + x.size(1), at::TensorOptions().dtype(at::kDouble).device(x.device()));
  at::Tensor angle = (pos.unsqueeze(1) * on_device(frequencies, x.device(), at::kDouble).unsqueeze(0)).unsqueeze(1);  // [pos, 1, half]
  at::Tensor y = at_least_float32(x.slice(3, 0, rotary_dim));
  at::Tensor c = (angle.cos() * factor).to(y.scalar_type()), s = (angle.sin() * factor).to(y.scalar_type());
  at::Tensor a = interleaved ? y.slice(3, 0, rotary_dim, 2) : y.slice(3, 0, half);
  at::Tensor b = interleaved ? y.slice(3, 1, rotary_dim, 2) : y.slice(3, half, rotary_dim);
  at::Tensor ra = a * c - b * s, rb = b * c + a * s;
  at::Tensor turned = interleaved ? at::stack({ra, rb}, -1).flatten(3) : at::cat({ra, rb}, 3);
  turned = turned.to(x.scalar_type());
  return rotary_dim == x.size(3) ? turned : at::cat({turned, x.slice(3, rotary_dim)}, 3);
}

namespace {

// The last width-1 inputs before x, then x.
at::Tensor with_window(const at::Tensor& x, int64_t width, const at::Tensor& window) {
  if (width == 1) return x;
  at::Tensor before = window.defined() ? window.to(x.options()) : x.new_zeros({x.size(0), width - 1, x.size(2)});
  if (before.size(0) != x.size(0) || before.size(1) != width - 1 || before.size(2) != x.size(2))
    throw Error(StatusCode::kBadInput, "the short convolution's window has shape " + shape_text(before) +
                                           ", expected [" + std::to_string(x.size(0)) + ", " +
                                           std::to_string(width - 1) + ", " + std::to_string(x.size(2)) + "]");
  return at::cat({before, x}, 1);
}

}  // namespace

namespace {

// By a kernel (kernels/short_conv); undefined where it does not cover the case.
at::Tensor conv_in_one_pass(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor* window, bool silu) {
  if (!x.is_cuda()) return {};         // nothing is opened for a CPU's sake
  static const auto start = reinterpret_cast<kernels::ShortConvCuda>(kernel_function(kernels::kShortConvCudaSymbol));
  const at::Tensor before = window ? *window : at::Tensor();
  const int64_t width = weight.size(2);
  auto fits = [&](const at::Tensor& t) { return !t.defined() || (t.scalar_type() == at::kFloat && t.device() == x.device() && !(at::GradMode::is_enabled() && t.requires_grad())); };
  if (!start || !fits(x) || !fits(weight) || !fits(bias) || !fits(before) || width < 2 || width > kernels::kShortConvMostWidth || x.size(0) > 65535 || x.size(1) > 500000) return {};
  if (before.defined() && (before.dim() != 3 || before.size(0) != x.size(0) || before.size(1) != width - 1 || before.size(2) != x.size(2))) return {};
  const at::Tensor in = x.contiguous(), taps = weight.contiguous(), added = bias.defined() ? bias.contiguous() : at::Tensor(), kept = before.defined() ? before.contiguous() : at::Tensor();
  at::Tensor y = at::empty_like(in), after;
  kernels::ShortConv c;
  c.batch = in.size(0);
  c.positions = in.size(1);
  c.channels = in.size(2);
  c.width = width;
  c.silu = silu;
  c.x = in.const_data_ptr<float>();
  c.weight = taps.const_data_ptr<float>();
  if (added.defined()) c.bias = added.const_data_ptr<float>();
  if (kept.defined()) c.before = kept.const_data_ptr<float>();
  c.y = y.mutable_data_ptr<float>();
  if (window) {
    after = at::empty({c.batch, width - 1, c.channels}, in.options());
    c.after = after.mutable_data_ptr<float>();
  }
  if (const char* error = start(c, in.device().index(), current_stream(in.device()))) throw Error(StatusCode::kFailed, std::string("the GPU refuses the short convolution: ") + error);
  if (window) *window = after;
  return y;
}

}  // namespace

at::Tensor short_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor* window,
                      bool silu) {
  if (at::Tensor y = conv_in_one_pass(x, weight, bias, window, silu); y.defined()) return y;
  const int64_t width = weight.size(2), n = x.size(1);
  at::Tensor all = with_window(x, width, window ? *window : at::Tensor());
  // A sum of `width` shifted products: exact in float64 too, and it has a derivative of any order.
  at::Tensor input = at_least_float32(all), y;
  at::Tensor w = at_least_float32(weight);
  if (n == 1) y = (input * w.select(1, 0).t()).sum(1, true);           // a step of generation: two operations
  for (int64_t i = 0; i < width && n > 1; ++i) {
    at::Tensor part = input.slice(1, i, i + n) * w.select(2, i).select(1, 0);
    y = y.defined() ? y + part : part;
  }
  if (bias.defined()) y = y + bias;
  if (window) *window = all.slice(1, all.size(1) - (width - 1));
  return (silu ? at::silu(y) : y).to(x.scalar_type());
}

at::Tensor conv_windows(const at::Tensor& x, int64_t width, const at::Tensor& window_before) {
  return with_window(x, width, window_before).unfold(1, width, 1);
}

at::Tensor conv_from_windows(const at::Tensor& windows, const at::Tensor& weight, const at::Tensor& bias, bool silu) {
  at::Tensor y = (at_least_float32(windows) * at_least_float32(weight).select(1, 0)).sum(-1);
  if (bias.defined()) y = y + bias;
  return (silu ? at::silu(y) : y).to(windows.scalar_type());
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  // On a GPU LibTorch has it as one kernel, in place of six.
  const bool one_gain = !weight.defined() || (weight.dim() == 1 && weight.size(0) == x.size(-1) && weight.scalar_type() == at::kFloat);
  if (x.is_cuda() && x.scalar_type() == at::kFloat && one_gain && !(at::GradMode::is_enabled() && x.requires_grad()))
    return std::get<0>(at::_fused_rms_norm(x, {x.size(-1)}, weight.defined() ? std::optional<at::Tensor>(weight) : std::nullopt, eps));
  at::Tensor y = at_least_float32(x);
  y = y * at::rsqrt(y.square().mean(-1, true) + eps);
  if (weight.defined()) y = y * weight.to(y.scalar_type());
  return y.to(x.scalar_type());
}

at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  at::Tensor y = at_least_float32(x);
  y = y - y.mean(-1, true);
  y = y * at::rsqrt(y.square().mean(-1, true) + eps);
  if (weight.defined()) y = y * weight.to(y.scalar_type()).view({x.size(2), x.size(3)});
  if (bias.defined()) y = y + bias.to(y.scalar_type()).view({x.size(2), x.size(3)});
  return y.to(x.scalar_type());
}

at::Tensor l2_norm(const at::Tensor& x) {
  // As rms_norm, whose mean of squares is the sum divided by the width.
  if (x.is_cuda() && x.scalar_type() == at::kFloat && !(at::GradMode::is_enabled() && x.requires_grad())) {
    const double width = static_cast<double>(x.size(-1));
    return std::get<0>(at::_fused_rms_norm(x, {x.size(-1)}, std::nullopt, 1e-6 / width)) * (1 / std::sqrt(width));
  }
  at::Tensor y = at_least_float32(x);
  return (y * at::rsqrt(y.square().sum(-1, true) + 1e-6)).to(x.scalar_type());
}

}  // namespace microtome::mixers
