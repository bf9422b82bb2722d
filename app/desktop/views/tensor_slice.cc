#include "app/desktop/views/tensor_slice.h"

#include <QCoreApplication>
#include <QStringList>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("TensorSlice", text); }

int axisOf(const NamedArray& a, const char* name) {
  const auto it = std::find(a.axes.begin(), a.axes.end(), name);
  return it == a.axes.end() ? -1 : static_cast<int>(it - a.axes.begin());
}

int64_t sizeOf(const NamedArray& a, int axis) { return axis < 0 ? 1 : a.shape[static_cast<size_t>(axis)]; }

std::vector<int64_t> stridesOf(const NamedArray& a) {
  std::vector<int64_t> out(a.shape.size(), 1);
  for (size_t i = a.shape.size(); i-- > 1;) out[i - 1] = out[i] * a.shape[i];
  return out;
}

// Product of the sizes; -1 when it is larger than any array can be.
int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t s : shape)
    if (__builtin_mul_overflow(n, s, &n)) return -1;
  return n;
}

QString shapeText(const std::vector<int64_t>& shape) {
  QStringList sizes;
  for (size_t i = 0; i < shape.size() && i < 8; ++i) sizes += QString::number(shape[i]);
  if (shape.size() > 8) sizes += QStringLiteral("…");
  return sizes.join(QStringLiteral(" × "));
}

struct Walk {
  int64_t size, stride;
};

// Adds up the finite numbers below `walks`, innermost last.
template <class T>
void addUp(const T* data, const std::vector<Walk>& walks, size_t depth, double& sum, int64_t& n) {
  if (depth == walks.size()) {
    const double x = static_cast<double>(*data);
    if (!std::isnan(x)) {
      sum += x;
      ++n;
    }
    return;
  }
  const Walk& w = walks[depth];
  for (int64_t i = 0; i < w.size; ++i) addUp(data + i * w.stride, walks, depth + 1, sum, n);
}

template <class T>
void cutInto(const T* data, const NamedArray& a, const TensorSlice& s, const std::atomic<bool>& stop, std::vector<float>& out) {
  const std::vector<int64_t> strides = stridesOf(a);
  std::vector<Walk> means;
  for (size_t i = 0; i < a.shape.size(); ++i) {
    if (static_cast<int>(i) == s.rows || static_cast<int>(i) == s.cols) continue;
    if (s.at[i] == kMean && a.shape[i] > 1)
      means.push_back({a.shape[i], strides[i]});
    else
      data += std::max<int64_t>(0, s.at[i]) * strides[i];
  }
  const int64_t rows = rowsOf(a, s), cols = colsOf(a, s);
  const int64_t rowStep = s.rows < 0 ? 0 : strides[static_cast<size_t>(s.rows)];
  const int64_t colStep = s.cols < 0 ? 0 : strides[static_cast<size_t>(s.cols)];
  float* cell = out.data();
  for (int64_t r = 0; r < rows && !stop; ++r) {
    const T* from = data + r * rowStep;
    for (int64_t c = 0; c < cols; ++c, ++cell, from += colStep) {
      if (means.empty()) {
        *cell = static_cast<float>(*from);
        continue;
      }
      double sum = 0;
      int64_t n = 0;
      addUp(from, means, 0, sum, n);
      *cell = n ? static_cast<float>(sum / static_cast<double>(n)) : std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace

QString problemOf(const NamedArray& a) {
  const QString name = nameText(a.name);
  if (a.axes.size() != a.shape.size())
    return tr("The array “%1” names %2 axes but has %3 sizes: run the analysis again.")
        .arg(name).arg(a.axes.size()).arg(a.shape.size());
  for (int64_t s : a.shape)
    if (s < 0) return tr("The array “%1” has a negative size (%2): run the analysis again.").arg(name, shapeText(a.shape));
  for (size_t i = 0; i < a.shape.size(); ++i)
    if (a.shape[i] == 0)
      return tr("The array “%1” is empty: there is no %2 in it.").arg(name, axisText(a.axes[i]));
  const int64_t n = product(a.shape);
  if (n != a.size())
    return tr("The array “%1” should hold %2 numbers but holds %3: run the analysis again.")
        .arg(name, a.shape.empty() ? QStringLiteral("1") : shapeText(a.shape)).arg(a.size());
  return {};
}

bool isPositionAxis(const std::string& axis) {
  return axis == "pos" || axis == "position" || axis == "q" || axis == "k" || axis == "token" ||
         (axis.size() > 4 && axis.compare(axis.size() - 4, 4, "_pos") == 0);
}

bool hasMean(const NamedArray& a) { return a.unit != "id"; }

TensorSlice defaultSlice(const NamedArray& a, const std::string& look) {
  const int rank = static_cast<int>(a.axes.size());
  TensorSlice s;
  const int query = axisOf(a, "q_pos"), key = axisOf(a, "k_pos"), layer = axisOf(a, "layer"), head = axisOf(a, "head");
  int position = -1;
  for (int i = 0; i < rank && position < 0; ++i)
    if (isPositionAxis(a.axes[static_cast<size_t>(i)])) position = i;
  const auto take = [&](int one, int other) {
    s.rows = one;
    s.cols = other;
  };
  if (query >= 0 && key >= 0) {
    take(query, key);
  } else if (rank == 2) {
    take(0, 1);
  } else if (rank == 1) {
    s.cols = 0;
  } else if (look == "pattern" && rank >= 2) {
    take(rank - 2, rank - 1);
  } else if (layer >= 0 && head >= 0) {
    take(layer, head);
  } else if (layer >= 0 && position >= 0) {
    take(layer, position);
  } else if (rank > 2) {
    std::vector<int> best;
    for (int i = rank; i-- > 0;)
      if (a.axes[static_cast<size_t>(i)] != "prompt") best.push_back(i);
    if (best.size() >= 2) take(best[1], best[0]);
    else take(rank - 2, rank - 1);
  }
  s.at.assign(a.axes.size(), 0);
  for (size_t i = 0; i < a.axes.size(); ++i) {
    if (a.axes[i] == "prompt") s.at[i] = hasMean(a) && look != "pattern" && a.shape[i] > 1 ? kMean : 0;
    else if (isPositionAxis(a.axes[i])) s.at[i] = std::max<int64_t>(0, a.shape[i] - 1);
  }
  return s;
}

std::optional<TensorSlice> fitted(const NamedArray& a, TensorSlice s) {
  const int rank = static_cast<int>(a.axes.size());
  if (s.at.size() != a.axes.size() || s.rows < -1 || s.cols < 0 || s.rows >= rank || s.cols >= rank || s.rows == s.cols)
    return std::nullopt;
  for (size_t i = 0; i < s.at.size(); ++i)
    if (s.at[i] != kMean || !hasMean(a)) s.at[i] = std::clamp<int64_t>(s.at[i], 0, a.shape[i] - 1);
  return s;
}

QHash<QString, qint64> placeOf(const NamedArray& a, const TensorSlice& s, int64_t row, int64_t col) {
  QHash<QString, qint64> out;
  for (size_t i = 0; i < a.axes.size(); ++i) {
    const int axis = static_cast<int>(i);
    const int64_t index = axis == s.rows ? row : axis == s.cols ? col : s.at[i];
    if (index >= 0) out[QString::fromStdString(a.axes[i])] = index;
  }
  return out;
}

int64_t rowsOf(const NamedArray& a, const TensorSlice& s) { return sizeOf(a, s.rows); }
int64_t colsOf(const NamedArray& a, const TensorSlice& s) { return sizeOf(a, s.cols); }

int64_t costOf(const NamedArray& a, const TensorSlice& s) {
  int64_t n = rowsOf(a, s) * colsOf(a, s);
  for (size_t i = 0; i < a.shape.size(); ++i)
    if (static_cast<int>(i) != s.rows && static_cast<int>(i) != s.cols && s.at[i] == kMean) n *= a.shape[i];
  return n;
}

std::vector<float> cut(const NamedArray& a, const TensorSlice& s, const std::atomic<bool>& stop) {
  std::vector<float> out(static_cast<size_t>(rowsOf(a, s) * colsOf(a, s)), std::numeric_limits<float>::quiet_NaN());
  std::visit([&](const auto& v) { cutInto(v.data(), a, s, stop, out); }, a.data);
  return out;
}

std::pair<double, double> rangeOf(const NamedArray& a, const std::atomic<bool>& stop) {
  double lo = std::numeric_limits<double>::infinity(), hi = -lo;
  std::visit(
      [&](const auto& v) {
        for (size_t i = 0; i < v.size(); ++i) {
          if ((i & 0xffff) == 0 && stop) return;
          const double x = static_cast<double>(v[i]);
          if (!std::isfinite(x)) continue;
          lo = std::min(lo, x);
          hi = std::max(hi, x);
        }
      },
      a.data);
  return lo <= hi ? std::make_pair(lo, hi) : std::make_pair(0.0, 0.0);
}

bool isCausal(const std::vector<float>& values, int64_t rows, int64_t cols) {
  if (rows != cols || rows < 2) return false;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r + 1; c < cols; ++c)
      if (const float x = values[static_cast<size_t>(r * cols + c)]; x != 0 && !std::isnan(x)) return false;
  return true;
}

}  // namespace microtome::desktop
