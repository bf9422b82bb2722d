#include "core/dictionary/kinds/parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace microtome::dictionary_kinds {

at::Tensor decoder_norms(const Dictionary& d) {
  at::Tensor own = d.weight("W_dec");
  if (!d.has("W_dec_later")) return own.norm(2, 1);
  // A cross-layer feature's size is that of all it writes, one decoder after the other.
  return (own.square().sum(1) + d.weight("W_dec_later").square().sum(at::IntArrayRef({0, 2}))).sqrt();
}

at::Tensor centred(const Dictionary& d, const at::Tensor& x) {
  return d.config.apply_b_dec_to_input ? x - d.weight("b_dec") : x;
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const LossSettings& s) {
  if (s.products == a.scalar_type() || a.scalar_type() != at::kFloat) return a.matmul(b);
  return a.to(s.products).matmul(b.to(s.products)).to(a.scalar_type());
}

at::Tensor pre_activation(const Dictionary& d, const at::Tensor& x, const LossSettings& s) {
  return product(centred(d, x), d.weight("W_enc"), s) + d.weight("b_enc");
}

at::Tensor reconstruct(const Dictionary& d, const at::Tensor& codes, const at::Tensor& x, const LossSettings& s) {
  at::Tensor out = product(codes, d.weight("W_dec"), s) + d.weight("b_dec");
  if (d.config.skip) out = out + product(x, d.weight("W_skip").t(), s);
  return out;
}

at::Tensor squared_error(const at::Tensor& out, const at::Tensor& target) { return (out - target).square().sum(-1).mean(); }

at::Tensor top_of_rows(const at::Tensor& pre, int64_t k) {
  auto [values, places] = pre.topk(std::min(k, pre.size(1)), 1);
  return at::zeros_like(pre).scatter(1, places, values.relu());
}

at::Tensor top_of_batch(const at::Tensor& pre, int64_t k) {
  at::Tensor flat = pre.relu().flatten();
  auto [values, places] = flat.topk(std::min(k * pre.size(0), flat.numel()));
  return at::zeros_like(flat).scatter(0, places, values).view_as(pre);
}

at::Tensor auxiliary_loss(const Dictionary& d, const at::Tensor& pre, const at::Tensor& out, const at::Tensor& target, const LossSettings& s) {
  const int64_t dead = s.dead.defined() && s.aux != 0 ? s.dead.sum().item<int64_t>() : 0;
  if (dead == 0) return at::zeros({}, pre.options());
  const int64_t wanted = std::max<int64_t>(1, target.size(1) / 2), used = std::min(wanted, dead);
  const double weight = s.aux * std::min(static_cast<double>(dead) / static_cast<double>(wanted), 1.0);
  at::Tensor of_dead = pre.masked_fill(s.dead.logical_not(), -std::numeric_limits<double>::infinity());
  auto [values, places] = of_dead.topk(used, 1);
  at::Tensor codes = at::zeros_like(pre).scatter(1, places, values);
  return weight * squared_error(product(codes, d.weight("W_dec"), s), (target - out).detach());
}

at::Tensor total(const LossResult& r) {
  at::Tensor sum = r.parts.at(0).second;
  for (size_t i = 1; i < r.parts.size(); ++i) sum = sum + r.parts[i].second;
  return sum;
}

}  // namespace microtome::dictionary_kinds
