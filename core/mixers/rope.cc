#include "core/mixers/rope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <sstream>

#include "core/mixers/projections.h"

namespace microtome::mixers {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

std::vector<double> numbers(const std::string& text) {
  std::vector<double> out;
  std::stringstream in(text);
  for (std::string one; std::getline(in, one, ',');) out.push_back(std::atof(one.c_str()));
  return out;
}

}  // namespace

Rope::Rope(const Params& p, int64_t dim, const std::string& kind) : dim_(dim) {
  auto require = [&](bool good, const char* name, const std::string& value, const char* allowed) {
    if (!good)
      throw Error(StatusCode::kBadInput, std::string("rope_") + name + " is " + value, kind, std::string("it must be ") + allowed);
  };
  static const std::map<std::string, Scaling> names = {
      {"default", Scaling::kDefault}, {"linear", Scaling::kLinear}, {"dynamic", Scaling::kDynamic},
      {"yarn", Scaling::kYarn}, {"llama3", Scaling::kLlama3}, {"longrope", Scaling::kLong}};
  const std::string name = p.get_string("rope_scaling", "default");
  auto it = names.find(name);
  require(it != names.end(), "scaling", "'" + name + "'", "default, linear, dynamic, yarn, llama3 or longrope");
  scaling_ = it->second;
  interleaved_ = p.get_bool("rope_interleaved", false);
  auto positive = [&](const char* key, double fallback) {
    double v = p.get_float(std::string("rope_") + key, fallback);
    require(std::isfinite(v) && v > 0, key, std::to_string(v), "a positive number");
    return v;
  };
  theta_ = positive("theta", 10000.0);
  if (dim == 0) return;
  factor_ = positive("factor", 1.0);
  attention_factor_ = positive("attention_factor", 1.0);
  low_ = positive("low_freq_factor", 1.0);
  high_ = positive("high_freq_factor", 4.0);
  beta_fast_ = positive("beta_fast", 32.0);
  beta_slow_ = positive("beta_slow", 1.0);
  truncate_ = p.get_bool("rope_truncate", true);
  original_ = p.get_int("rope_original_context", 0);
  const bool needs = scaling_ != Scaling::kDefault && scaling_ != Scaling::kLinear;
  require(!needs || original_ > 0, "original_context", std::to_string(original_), "the positive length trained on");
  require(scaling_ != Scaling::kLlama3 || high_ > low_, "high_freq_factor", std::to_string(high_), "above low_freq_factor");
  if (scaling_ != Scaling::kLong) return;
  short_ = numbers(p.get_string("rope_short_factors", ""));
  long_ = numbers(p.get_string("rope_long_factors", ""));
  for (const auto* list : {&short_, &long_}) {
    require(static_cast<int64_t>(list->size()) == dim / 2, list == &short_ ? "short_factors" : "long_factors",
            "a list of " + std::to_string(list->size()), ("a list of " + std::to_string(dim / 2)).c_str());
    for (double f : *list) require(std::isfinite(f) && f > 0, "factors", std::to_string(f), "positive");
  }
}

std::vector<double> Rope::frequencies(int64_t length) const {
  std::vector<double> out(static_cast<size_t>(dim_ / 2));
  double base = theta_;
  const double dim = static_cast<double>(dim_), original = static_cast<double>(original_);
  if (scaling_ == Scaling::kDynamic && length > original_)
    base *= std::pow(factor_ * static_cast<double>(length) / original - (factor_ - 1), dim / (dim - 2));
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::pow(base, -2.0 * static_cast<double>(i) / dim);
  switch (scaling_) {
    case Scaling::kDefault:
    case Scaling::kDynamic:
      break;
    case Scaling::kLinear:
      for (double& f : out) f /= factor_;
      break;
    case Scaling::kLong:
      for (size_t i = 0; i < out.size(); ++i) out[i] /= length > original_ ? long_[i] : short_[i];
      break;
    case Scaling::kLlama3:
      // Waves longer than the context trained on are stretched, short ones kept, those between blended.
      for (double& f : out) {
        const double turns = original * f / kTwoPi;
        const double kept = std::clamp((turns - low_) / (high_ - low_), 0.0, 1.0);
        f = (1 - kept) * f / factor_ + kept * f;
      }
      break;
    case Scaling::kYarn: {
      // The channel that turns n times over the context trained on.
      auto channel = [&](double n) { return dim * std::log(original / (n * kTwoPi)) / (2 * std::log(theta_)); };
      double low = channel(beta_fast_), high = channel(beta_slow_);
      if (truncate_) low = std::floor(low), high = std::ceil(high);
      low = std::max(low, 0.0), high = std::min(high, dim - 1);
      if (low == high) high += 0.001;
      for (size_t i = 0; i < out.size(); ++i) {
        const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        out[i] = stretched * out[i] / factor_ + (1 - stretched) * out[i];
      }
      break;
    }
  }
  return out;
}

at::Tensor Rope::turn(const at::Tensor& x, int64_t first_pos, int64_t length) const {
  if (!any()) return x;
  return rotary(x, first_pos, at::tensor(frequencies(length), at::kDouble), interleaved_, attention_factor_);
}

}  // namespace microtome::mixers
