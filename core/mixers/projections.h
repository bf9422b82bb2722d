// projections.h — what mixers share around their recurrence: head-wise linear maps that honour split inputs, rotary
// embedding, short convolution, per-head norms.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// weights.at(name), or an undefined tensor when absent.
at::Tensor weight_or_none(const WeightMap& weights, const std::string& name);

// The role's projection by heads: [batch, pos, out_heads, width].
//   weight [heads*width, d_model], bias [heads*width] or undefined
// Without a split input: x W^T + b, out_heads = heads. With one (in.split[role], one input a query head, query_heads of
// them): head h of the query heads is projected by the rows of weight head h / (query_heads / heads), so the result is
// ungrouped: out_heads = query_heads.
at::Tensor project_heads(const MixerInput& in, const std::string& role, const at::Tensor& weight,
                         const at::Tensor& bias, int64_t heads, int64_t query_heads);

// The same through a narrow middle, y = up act(down x) + b: down [r, d_model], up [heads*width, r]; act may be null.
at::Tensor project_low_rank(const MixerInput& in, const std::string& role, const at::Tensor& down, const at::Tensor& up,
                            const at::Tensor& bias, int64_t heads, int64_t query_heads,
                            at::Tensor (*act)(const at::Tensor&) = nullptr);

// What a projection of y [batch, pos, head, d_v] adds to the residual stream: weight [d_model, heads*d_v]. Asks
// hook_result; changed, the output is its sum over heads.
at::Tensor project_out(const at::Tensor& y, const at::Tensor& weight, HookScope& hooks);

// Throws Error(kBadInput) naming a weight that is absent or of another shape than specs says.
void require_weights(const WeightMap& weights, const std::vector<WeightSpec>& specs, const std::string& kind);

// The input one position earlier: before, x_0 … x_{T-2}. x [batch, pos, …, d_model]; before [batch, 1, d_model], or
// undefined: zeros.
at::Tensor one_earlier(const at::Tensor& x, const at::Tensor& before);

// Rotary position embedding, NeoX pairing (i, i + rotary_dim/2), or GPT-J pairing (2i, 2i+1) when interleaved. x [batch,
// pos, head, d]; the first rotary_dim channels turn by position * theta^(-2i/rotary_dim). Angles are computed in float64.
at::Tensor rotary(const at::Tensor& x, int64_t first_pos, int64_t rotary_dim, double theta, bool interleaved);
// The same with given angles a position, frequencies [rotary_dim / 2] float64, and cos and sin times `factor`.
at::Tensor rotary(const at::Tensor& x, int64_t first_pos, const at::Tensor& frequencies, bool interleaved, double factor);

// Depthwise causal convolution over positions, then SiLU: y[t, c] = silu(sum_w x[t - width + 1 + w, c] weight[c, 0, w] +
// bias[c]). x [batch, pos, channel]; weight [channel, 1, width].
// window: in, the last width-1 inputs before x[:, 0] ([batch, width-1, channel], undefined: zeros); out, the last width-1.
// silu false leaves the activation out (delta-rule layers with another one on q and k).
at::Tensor short_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor* window,
                      bool silu = true);
// The windows themselves: [batch, pos, channel, width], the token's own input last (hook_conv_state), and the convolution
// read from (perhaps changed) windows.
at::Tensor conv_windows(const at::Tensor& x, int64_t width, const at::Tensor& window_before);
at::Tensor conv_from_windows(const at::Tensor& windows, const at::Tensor& weight, const at::Tensor& bias,
                             bool silu = true);

// x / sqrt(mean(x^2) + eps) * weight over the last axis (weight may be undefined).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
// (x - mean) / sqrt(var + eps) * weight + bias over the last axis of [batch, pos, head, d]: a group norm with a group a
// head. weight, bias [head * d] or undefined.
at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);
// x / sqrt(sum(x^2) + 1e-6) over the last axis: fla's l2norm.
at::Tensor l2_norm(const at::Tensor& x);

}  // namespace microtome::mixers
