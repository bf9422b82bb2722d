#include "analysis/engine/arrays.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/rng.h"
#include "core/base/status.h"

namespace microtome::engine {
namespace {

constexpr int kResamples = 1000;

template <class T>
std::vector<T> copy_out(const at::Tensor& t) {
  const T* from = t.const_data_ptr<T>();
  return std::vector<T>(from, from + t.numel());
}

}  // namespace

double quantile(const std::vector<double>& sorted, double q) {
  double at = q * static_cast<double>(sorted.size() - 1);
  size_t low = static_cast<size_t>(at);
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

NamedArray to_array(std::string name, std::vector<std::string> axes, const at::Tensor& t, std::string unit,
                    std::string help) {
  if (static_cast<int64_t>(axes.size()) != t.dim())
    throw Error(StatusCode::kInternal, "array '" + name + "' has " + std::to_string(t.dim()) + " dimensions and " +
                                           std::to_string(axes.size()) + " axis names");
  NamedArray out;
  out.name = std::move(name);
  out.axes = std::move(axes);
  out.shape = t.sizes().vec();
  out.unit = std::move(unit);
  out.help = std::move(help);
  at::Tensor host = t.detach().to(at::kCPU);
  if (host.scalar_type() == at::kDouble) {
    out.data = copy_out<double>(host.contiguous());
  } else if (at::isIntegralType(host.scalar_type(), /*includeBool=*/true)) {
    out.data = copy_out<int64_t>(host.to(at::kLong).contiguous());
  } else {
    out.data = copy_out<float>(host.to(at::kFloat).contiguous());
  }
  return out;
}

at::Tensor to_tensor(const NamedArray& a) {
  return std::visit(
      [&](const auto& values) {
        using T = typename std::decay_t<decltype(values)>::value_type;
        if (static_cast<int64_t>(values.size()) != a.size())
          throw Error(StatusCode::kInternal, "array '" + a.name + "' holds " + std::to_string(values.size()) +
                                                 " numbers, its shape says " + std::to_string(a.size()));
        at::Tensor out = at::empty(a.shape, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
        std::copy(values.begin(), values.end(), out.mutable_data_ptr<T>());
        return out;
      },
      a.data);
}

const NamedArray& find_array(const std::vector<NamedArray>& arrays, const std::string& name) {
  for (const NamedArray& a : arrays)
    if (a.name == name) return a;
  throw Error(StatusCode::kInternal, "an item holds no array '" + name + "'");
}

at::Tensor nan_mean(const at::Tensor& t, int64_t axis) { return at::nanmean(t, axis); }

SummaryItem plain_number(std::string name, double value, std::string unit, std::string help) {
  SummaryItem out;
  out.name = std::move(name);
  out.value = value;
  out.unit = std::move(unit);
  out.help = std::move(help);
  out.low = out.high = std::numeric_limits<double>::quiet_NaN();
  return out;
}

SummaryItem summarise(std::string name, const std::vector<double>& per_prompt, std::string unit, std::string help,
                      uint64_t seed) {
  std::vector<double> values;
  for (double v : per_prompt)
    if (!std::isnan(v)) values.push_back(v);
  SummaryItem out = plain_number(std::move(name), std::numeric_limits<double>::quiet_NaN(), std::move(unit),
                                 std::move(help));
  out.n = static_cast<int64_t>(values.size());
  if (values.empty()) return out;
  double sum = 0;
  for (double v : values) sum += v;
  out.value = sum / static_cast<double>(values.size());
  if (values.size() < 2) return out;
  Rng rng(seed);
  std::vector<double> means(kResamples);
  for (double& m : means) {
    double s = 0;
    for (size_t i = 0; i < values.size(); ++i) s += values[rng.below(values.size())];
    m = s / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  out.low = quantile(means, 0.025);
  out.high = quantile(means, 0.975);
  return out;
}

}  // namespace microtome::engine
