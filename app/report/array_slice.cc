#include <algorithm>
#include <cmath>

#include "app/report/array_view.h"

namespace microtome::report {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size() && i < 12; ++i) out += (i ? "," : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace

bool ArraySlice::make(const NamedArray& array, ArraySlice& out, std::string& why) {
  int64_t held = static_cast<int64_t>(std::visit([](const auto& v) { return v.size(); }, array.data));
  if (array.axes.size() != array.shape.size() || array.axes.size() > 8) {
    why = std::to_string(array.axes.size()) + " axis names for shape " + shape_text(array.shape);
    return false;
  }
  int64_t cells = 1;
  for (int64_t n : array.shape) {
    if (n <= 0 || cells > (int64_t{1} << 40) / n) {
      why = "shape " + shape_text(array.shape) + (n == 0 ? " holds no cells" : " is not usable");
      return false;
    }
    cells *= n;
  }
  if (cells != held) {
    why = std::to_string(held) + " numbers for shape " + shape_text(array.shape);
    return false;
  }
  out.array_ = &array;
  out.axes_ = array.axes;
  out.shape_ = array.shape;
  out.strides_.assign(array.shape.size(), 1);
  for (size_t i = array.shape.size(); i-- > 1;) out.strides_[i - 1] = out.strides_[i] * array.shape[i];
  out.offset_ = 0;
  return true;
}

int ArraySlice::find(const std::string& axis) const {
  auto it = std::find(axes_.begin(), axes_.end(), axis);
  return it == axes_.end() ? -1 : static_cast<int>(it - axes_.begin());
}

int64_t ArraySlice::cells() const {
  int64_t n = 1;
  for (int64_t s : shape_) n *= s;
  return n;
}

ArraySlice ArraySlice::cut(int axis, int64_t index) const {
  ArraySlice s = *this;
  s.offset_ += index * strides_[axis];
  s.axes_.erase(s.axes_.begin() + axis);
  s.shape_.erase(s.shape_.begin() + axis);
  s.strides_.erase(s.strides_.begin() + axis);
  return s;
}

ArraySlice ArraySlice::order(const std::vector<int>& axes) const {
  ArraySlice s = *this;
  for (size_t i = 0; i < axes.size(); ++i) {
    s.axes_[i] = axes_[axes[i]];
    s.shape_[i] = shape_[axes[i]];
    s.strides_[i] = strides_[axes[i]];
  }
  return s;
}

double ArraySlice::at(int64_t flat) const {
  return std::visit([flat](const auto& v) { return static_cast<double>(v[flat]); }, array_->data);
}

std::vector<double> ArraySlice::values() const {
  std::vector<double> out;
  int64_t n = cells();
  out.reserve(n);
  std::vector<int64_t> index(shape_.size(), 0);
  int64_t flat = offset_;
  for (int64_t i = 0; i < n; ++i) {
    out.push_back(at(flat));
    for (size_t k = shape_.size(); k-- > 0;) {
      flat += strides_[k];
      if (++index[k] < shape_[k]) break;
      flat -= strides_[k] * shape_[k];
      index[k] = 0;
    }
  }
  return out;
}

std::vector<double> ArraySlice::mean_over(int axis) const {
  ArraySlice first = cut(axis, 0);
  std::vector<double> sum(first.cells(), 0);
  std::vector<int64_t> n(sum.size(), 0);
  for (int64_t i = 0; i < shape_[axis]; ++i) {
    std::vector<double> part = cut(axis, i).values();
    for (size_t k = 0; k < part.size(); ++k) {
      if (std::isnan(part[k])) continue;
      sum[k] += part[k];
      ++n[k];
    }
  }
  for (size_t k = 0; k < sum.size(); ++k) sum[k] = n[k] ? sum[k] / static_cast<double>(n[k]) : std::nan("");
  return sum;
}

}  // namespace microtome::report
