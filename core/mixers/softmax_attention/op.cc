// The op alone, as the reference files have it.
#include <ATen/ATen.h>

#include <cmath>

#include "core/base/status.h"
#include "core/mixers/projections.h"
#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/softmax_attention/parts.h"

namespace microtome::mixers {
namespace {

std::string text_scalar(const Params& p, const std::string& name) {
  auto it = p.values().find(name);
  if (it == p.values().end()) return {};
  const std::string* text = std::get_if<std::string>(&it->second);
  return text ? *text : std::string();
}

at::Tensor input(const MixerOpRequest& request, const std::string& name) {
  auto it = request.inputs.find(name);
  if (it == request.inputs.end() || !it->second.defined() || it->second.dim() != 4 || !it->second.is_floating_point())
    throw Error(StatusCode::kBadInput, "expected a floating-point tensor [batch, pos, head, width]",
                "softmax_attention input '" + name + "'");
  // Half floats are too coarse for scores on the CPU.
  return it->second.scalar_type() == at::kHalf && it->second.is_cpu() ? it->second.to(at::kFloat) : it->second;
}

void check_shapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const bool same = q.size(0) == k.size(0) && q.size(1) == k.size(1) && q.size(3) == k.size(3) &&
                    k.sizes().slice(0, 3) == v.sizes().slice(0, 3);
  const bool good = same && q.size(1) > 0 && q.size(3) > 0 && k.size(2) > 0 && q.size(2) % k.size(2) == 0;
  if (!good)
    throw Error(StatusCode::kBadInput, "q " + c10::str(q.sizes()) + ", k " + c10::str(k.sizes()) + " and v " +
                c10::str(v.sizes()) + " do not fit together", "softmax_attention");
}

}  // namespace

MixerOpResult softmax_attention_op(const MixerOpRequest& request) {
  at::Tensor q = input(request, "q"), k = input(request, "k"), v = input(request, "v");
  check_shapes(q, k, v);
  const Params& p = request.scalars;
  std::string variant;
  for (const char* name : {"variant", "case", "kind"}) variant += text_scalar(p, name) + " ";
  auto is = [&](const char* word) { return variant.find(word) != std::string::npos; };

  AttentionOptions options;
  options.scale = p.get_float("scale", 1.0 / std::sqrt(static_cast<double>(q.size(3))));
  options.window = p.get_int("window", 0);
  options.softcap = p.get_float("softcap", 0.0);
  if (options.window < 0 || options.softcap < 0)
    throw Error(StatusCode::kBadInput, "window and softcap must not be negative", "softmax_attention");
  options.causal = p.get_bool("causal", !is("bidirectional"));
  options.alibi = p.get_bool("alibi", is("alibi"));
  if (auto it = request.inputs.find("sinks"); it != request.inputs.end()) {
    if (!it->second.defined() || it->second.numel() != q.size(2))
      throw Error(StatusCode::kBadInput, "expected one sink a query head", "softmax_attention input 'sinks'");
    options.sinks = it->second.reshape({-1});
  }
  if (is("sigmoid")) {
    options.weighting = Weighting::kSigmoid;
    const std::string bias = text_scalar(p, "bias");
    if (!bias.empty() && bias != "-log(T)")
      throw Error(StatusCode::kBadInput, "bias '" + bias + "' is neither a number nor -log(T)", "softmax_attention");
    const double minus_log = -std::log(static_cast<double>(k.size(1)));
    options.sigmoid_bias = p.has("bias") && bias.empty() ? p.get_float("bias") : minus_log;
  } else if (is("clipped")) {
    options.weighting = Weighting::kClippedSoftmax;
    options.clip_gamma = p.get_float("gamma", 0.0);
    options.clip_zeta = p.get_float("zeta", 1.0);
  } else if (is("softplus")) {
    options.weighting = Weighting::kSoftplusL1;
  }
  if (options.weighting != Weighting::kSoftmax && options.sinks.defined())
    throw Error(StatusCode::kUnsupported, "sinks exist only with the softmax", "softmax_attention input 'sinks'");

  MixerOpResult out;
  if (is("rope") || p.has("theta")) {
    const int64_t rotary_dim = p.get_int("rotary_dim", q.size(3)), first = p.get_int("first_pos", 0);
    const double theta = p.get_float("theta", 10000.0);
    if (rotary_dim <= 0 || rotary_dim > q.size(3) || rotary_dim % 2 != 0 || !(theta > 0) || first < 0)
      throw Error(StatusCode::kBadInput, "rotary_dim, theta or first_pos is senseless", "softmax_attention");
    const bool interleaved = p.get_bool("interleaved", is("gptj"));
    q = rotary(q, first, rotary_dim, theta, interleaved);
    k = rotary(k, first, rotary_dim, theta, interleaved);
    out["q_rot"] = q;
    out["k_rot"] = k;
  }
  QueryRows rows;
  rows.tokens = q.size(1);
  const bool fused = request.form != MixerForm::kNaive && options.fused();
  const bool blocked = !fused && request.form != MixerForm::kNaive && !request.implied;
  if (fused) out["o"] = attention_fused(q, k, v, options, rows);
  if (blocked) out["o"] = attention_blocked(q, k, v, options, rows);
  if ((!fused && !blocked) || request.implied) {
    at::Tensor pattern = attention_pattern(attention_scores(q, k, options, rows), options);
    if (!fused) out["o"] = attention_mix(pattern, v).to(q.scalar_type());
    if (request.implied) out["A"] = pattern;
  }
  return out;
}

}  // namespace microtome::mixers
