#include "core/training/dictionary_metrics.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace microtome {
namespace {

enum Sum { kShifted, kError, kCosine, kOut, kProduct, kSums };

double ratio(double a, double b) { return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a / b; }

}  // namespace

MetricsAccumulator::MetricsAccumulator(int64_t d_out, int64_t d_sae, c10::Device device)
    : sum_(at::zeros({d_out}, at::TensorOptions(at::kDouble).device(device))),
      sums_(at::zeros({kSums}, at::TensorOptions(at::kDouble).device(device))),
      fired_(at::zeros({d_sae}, at::TensorOptions(at::kLong).device(device))) {}

void MetricsAccumulator::add_outputs(const at::Tensor& target, const at::Tensor& out) {
  if (target.dim() != 2 || target.size(1) != sum_.size(0) || out.sizes() != target.sizes())
    throw Error(StatusCode::kInternal, "metrics of a dictionary with " + std::to_string(sum_.size(0)) + " outputs were given " +
                c10::str(target.sizes()) + " and " + c10::str(out.sizes()), "dictionary metrics");
  if (target.size(0) == 0) return;
  auto wide = [&](const at::Tensor& t) {
    return t.detach().to(sum_.device(), t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  };
  at::Tensor x = wide(target), y = wide(out);
  if (!shift_.defined()) shift_ = x.mean(0, false, at::kDouble);
  at::Tensor centred = x - shift_.to(x.scalar_type()), error = x - y;
  at::Tensor xx = (x * x).sum(at::IntArrayRef{1}, false, at::kDouble), yy = (y * y).sum(at::IntArrayRef{1}, false, at::kDouble);
  at::Tensor xy = (x * y).sum(at::IntArrayRef{1}, false, at::kDouble), norms = (xx * yy).sqrt();
  at::Tensor cosine = at::where(norms > 0, xy / norms.clamp_min(1e-300), at::zeros_like(xy));
  // What was rounded when the shift became float32 is in `centred` itself, so the sums below are about the rounded shift.
  shift_ = shift_.to(x.scalar_type()).to(at::kDouble);
  sum_.add_(centred.sum(at::IntArrayRef{0}, false, at::kDouble));
  sums_.add_(at::stack({(centred * centred).sum(at::kDouble), (error * error).sum(at::kDouble), cosine.sum(), yy.sum(), xy.sum()}));
  tokens_ += x.size(0);
}

void MetricsAccumulator::add(const at::Tensor& target, const at::Tensor& out, const at::Tensor& codes) {
  add_outputs(target, out);
  fired_.add_((codes.detach() > 0).sum(0).to(fired_.device()));
}

void MetricsAccumulator::add(const at::Tensor& target, const at::Tensor& out, const SparseCodes& codes) {
  add_outputs(target, out);
  at::Tensor on = (codes.values.detach() > 0).to(fired_.device(), at::kLong).reshape({-1});
  fired_.scatter_add_(0, codes.features.to(fired_.device()).reshape({-1}), on);
}

at::Tensor MetricsAccumulator::mean() const {
  if (tokens_ == 0) return at::full_like(sum_, std::numeric_limits<double>::quiet_NaN());
  return shift_ + sum_ / static_cast<double>(tokens_);
}

void MetricsAccumulator::merge(const MetricsAccumulator& other) {
  if (other.sum_.sizes() != sum_.sizes() || other.fired_.sizes() != fired_.sizes())
    throw Error(StatusCode::kInternal, "metrics of dictionaries of different sizes were put together", "dictionary metrics");
  fired_.add_(other.fired_.to(fired_.device()));
  if (other.tokens_ == 0) return;
  at::Tensor shift = other.shift_.to(sum_.device()), sum = other.sum_.to(sum_.device()), sums = other.sums_.to(sum_.device()).clone();
  if (tokens_ == 0) shift_ = shift.clone();
  // Σ‖x − a‖² = Σ‖x − b‖² + 2 (b − a)·Σ(x − b) + n ‖b − a‖²
  at::Tensor step = shift - shift_;
  double n = static_cast<double>(other.tokens_);
  sums.select(0, kShifted).add_(2 * (step * sum).sum() + n * (step * step).sum());
  sum_.add_(sum + n * step);
  sums_.add_(sums);
  tokens_ += other.tokens_;
}

std::vector<at::Tensor> MetricsAccumulator::state() const {
  at::Tensor shift = shift_.defined() ? shift_ : at::zeros_like(sum_);
  return {shift.to(at::kCPU), sum_.to(at::kCPU), sums_.to(at::kCPU), fired_.to(at::kCPU), at::full({1}, tokens_, at::kLong)};
}

void MetricsAccumulator::set_state(const std::vector<at::Tensor>& state) {
  if (state.size() != 5 || state[1].sizes() != sum_.sizes() || state[3].sizes() != fired_.sizes())
    throw Error(StatusCode::kInternal, "kept metrics are of a dictionary of another size", "dictionary metrics");
  auto own = [&](const at::Tensor& t) { return t.to(sum_.device()).clone(); };
  tokens_ = state[4].item<int64_t>();
  shift_ = tokens_ > 0 ? own(state[0]) : at::Tensor();
  sum_ = own(state[1]);
  sums_ = own(state[2]);
  fired_ = own(state[3]);
}

DictionaryMetrics MetricsAccumulator::result() const {
  DictionaryMetrics m;
  m.tokens = tokens_;
  double n = static_cast<double>(tokens_);
  at::Tensor sums = sums_.to(at::kCPU).contiguous(), fired = fired_.to(at::kCPU);
  const double* s = sums.const_data_ptr<double>();
  // Σ‖x − mean‖² from the sums about the shift; the shift is near the mean, so little is taken away.
  double total = s[kShifted] - (n > 0 ? (sum_ * sum_).sum().item<double>() / n : 0);
  m.l0 = ratio(static_cast<double>(fired.sum().item<int64_t>()), n);
  m.fvu = ratio(s[kError], total);
  m.explained_variance = 1 - m.fvu;
  m.cosine = ratio(s[kCosine], n);
  m.mse = ratio(s[kError], n);
  m.bias = ratio(s[kOut], s[kProduct]);
  double features = static_cast<double>(fired.numel());
  if (tokens_ == 0) features = 0;
  m.dead = ratio(static_cast<double>((fired == 0).sum().item<int64_t>()), features);
  m.dense = ratio(static_cast<double>((fired.to(at::kDouble) > kDense * n).sum().item<int64_t>()), features);
  return m;
}

}  // namespace microtome
