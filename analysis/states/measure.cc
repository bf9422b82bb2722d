#include "analysis/states/measure.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace microtome::analyses::states {
namespace {

constexpr double kTiny = 1e-30;
// A write that differs from the delta rule's by more than this is of another kind.
constexpr double kDeltaTolerance = 1e-3;
const double kNaN = std::numeric_limits<double>::quiet_NaN();

// Head h of `heads` uses head h / (heads / have) of t; heads are axis 2.
at::Tensor to_heads(const at::Tensor& t, int64_t heads) {
  return t.size(2) == heads ? t : t.repeat_interleave(heads / t.size(2), 2);
}

at::Tensor frobenius(const at::Tensor& s) { return s.square().sum({-2, -1}).sqrt(); }

// Squared singular values, largest first, from the smaller Gram matrix.
at::Tensor squared_singular_values(const at::Tensor& s) {
  at::Tensor d = s.to(at::kDouble);
  at::Tensor gram = d.size(-2) <= d.size(-1) ? at::matmul(d, d.transpose(-2, -1)) : at::matmul(d.transpose(-2, -1), d);
  return at::linalg_eigvalsh(gram).clamp_min(0).flip(-1);
}

}  // namespace

Rule rule_of(const Span& span) {
  const at::Tensor& s = span.state;
  int64_t heads = s.size(2);
  Rule out;
  out.strength = span.beta.defined() || span.erases;
  if (span.decay.defined() && heads % span.decay.size(2) == 0)
    out.decay = to_heads(span.decay, heads).to(at::kDouble);
  if (!span.beta.defined() || span.erases || !span.k.defined() || !span.v.defined() || !span.write.defined()) return out;
  // More heads of k than of the state: several keys a token, no rank-one rule.
  if (heads % span.k.size(2) || heads % span.v.size(2) || heads % span.beta.size(2) || span.k.size(3) != s.size(3))
    return out;
  out.k = to_heads(span.k, heads).to(at::kDouble);
  out.v = to_heads(span.v, heads).to(at::kDouble);
  at::Tensor beta = to_heads(span.beta.unsqueeze(-1), heads).to(at::kDouble);
  at::Tensor before = at::cat({span.before.unsqueeze(1), s.narrow(1, 0, s.size(1) - 1)}, 1).to(at::kDouble);
  if (out.decay.defined()) before = before * out.decay.exp().unsqueeze(-1);
  out.answers = at::matmul(out.k.unsqueeze(-2), before).squeeze(-2);
  at::Tensor rule = out.k.unsqueeze(-1) * (beta * (out.v - out.answers)).unsqueeze(-2);
  at::Tensor write = span.write.to(at::kDouble);
  double size = write.square().sum().sqrt().item<double>();
  out.mismatch = (rule - write).square().sum().sqrt().item<double>() / std::max(size, kTiny);
  out.beta = beta.squeeze(-1);
  out.delta = !(out.mismatch > kDeltaTolerance);
  return out;
}

std::map<std::string, at::Tensor> measure(const Span& span, int64_t top, double& delta_mismatch) {
  const at::Tensor& s = span.state;
  int64_t heads = s.size(2);
  at::Tensor nan = at::full({s.size(0), s.size(1), heads}, kNaN, at::TensorOptions().dtype(at::kDouble));
  std::map<std::string, at::Tensor> out;
  auto put = [&](const char* name, const at::Tensor& v) { out[name] = v.to(at::kCPU, at::kDouble).contiguous(); };

  put("norm", frobenius(s));
  at::Tensor squared = squared_singular_values(s);
  at::Tensor total = squared.sum(-1, true);
  at::Tensor share = squared / total.clamp_min(kTiny);
  // A state of zeros has no rank.
  at::Tensor rank = at::where(total.squeeze(-1) > kTiny, (-at::xlogy(share, share).sum(-1)).exp(),
                              at::full_like(total.squeeze(-1), kNaN));
  put("effective_rank", rank);
  at::Tensor sigma = squared.sqrt();
  if (sigma.size(-1) < top) sigma = at::constant_pad_nd(sigma, {0, top - sigma.size(-1)}, kNaN);
  put("singular_values", sigma.narrow(-1, 0, top));

  put("write_norm", span.write.defined() ? frobenius(span.write) : nan);
  if (span.z.defined() && span.z.size(2) % heads == 0) {
    at::Tensor size = span.z.to(at::kDouble).square().sum(-1).sqrt();
    put("read_norm", size.unflatten(2, {heads, size.size(2) / heads}).mean(-1));
  } else {
    put("read_norm", nan);
  }

  Rule rule = rule_of(span);
  const at::Tensor& g = rule.decay;
  if (g.defined()) {
    at::Tensor mean = g.mean(-1);
    put("half_life", at::where(mean < 0, std::log(2.0) / -mean, at::full_like(mean, kNaN)));
  } else {
    put("half_life", nan);
  }

  out["erase"] = out["transition"] = nan;
  if (!rule.strength) {
    // Nothing stored is overwritten by a write that only adds.
    put("erase", at::zeros_like(nan));
    put("transition", g.defined() ? g.exp().mean(-1) : at::ones_like(nan));
    return out;
  }
  if (rule.k.defined()) delta_mismatch = rule.mismatch;
  if (!rule.delta) return out;
  at::Tensor erased = rule.answers.square().sum(-1).sqrt(), written = rule.v.square().sum(-1).sqrt();
  put("erase", erased / (erased + written).clamp_min(kTiny));
  at::Tensor k2 = rule.k.square(), length = k2.sum(-1);
  at::Tensor along = at::ones_like(length);
  if (g.defined()) along = (g.exp() * k2).sum(-1) / length.clamp_min(kTiny);
  put("transition", along * (1 - rule.beta * length));
  return out;
}

}  // namespace microtome::analyses::states
