#include "analysis/features/coactivity.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace microtome::analyses {

Partners coactive_features(const std::vector<int64_t>& ends, const std::vector<int64_t>& features, int64_t d_sae, const std::vector<int64_t>& chosen, int64_t count, Progress& progress) {
  // Tokens of each feature, one list after the other.
  std::vector<int64_t> begin(static_cast<size_t>(d_sae) + 1, 0);
  for (int64_t f : features) ++begin[static_cast<size_t>(f) + 1];
  for (size_t f = 1; f < begin.size(); ++f) begin[f] += begin[f - 1];
  std::vector<int32_t> tokens(features.size());
  {
    std::vector<int64_t> next(begin.begin(), begin.end() - 1);
    int64_t i = 0;
    for (size_t t = 0; t < ends.size(); ++t)
      for (; i < ends[t]; ++i) tokens[static_cast<size_t>(next[static_cast<size_t>(features[static_cast<size_t>(i)])]++)] = static_cast<int32_t>(t);
  }
  auto fires = [&](int64_t f) { return static_cast<double>(begin[static_cast<size_t>(f) + 1] - begin[static_cast<size_t>(f)]); };

  Partners out;
  out.count = count;
  out.feature.assign(chosen.size() * static_cast<size_t>(count), -1);
  out.phi.assign(out.feature.size(), std::numeric_limits<double>::quiet_NaN());
  const double n = static_cast<double>(ends.size());
  std::vector<int32_t> shared(static_cast<size_t>(d_sae), 0), touched;
  std::vector<std::pair<double, int64_t>> found;
  for (size_t c = 0; c < chosen.size(); ++c) {
    if (c % 64 == 0) progress.step(static_cast<int64_t>(c), static_cast<int64_t>(chosen.size()), "co-activation");
    const int64_t own = chosen[c];
    touched.clear();
    for (int64_t i = begin[static_cast<size_t>(own)]; i < begin[static_cast<size_t>(own) + 1]; ++i) {
      const size_t t = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
      for (int64_t k = t == 0 ? 0 : ends[t - 1]; k < ends[t]; ++k) {
        const size_t other = static_cast<size_t>(features[static_cast<size_t>(k)]);
        if (shared[other]++ == 0) touched.push_back(static_cast<int32_t>(other));
      }
    }
    found.clear();
    for (int32_t other : touched) {
      const double both = shared[static_cast<size_t>(other)], a = fires(own), b = fires(other);
      shared[static_cast<size_t>(other)] = 0;
      const double spread = a * (n - a) * b * (n - b);
      if (other == own || both < kLeastShared || spread <= 0) continue;
      found.emplace_back((n * both - a * b) / std::sqrt(spread), other);
    }
    const size_t most = std::min(found.size(), static_cast<size_t>(count));
    std::partial_sort(found.begin(), found.begin() + static_cast<int64_t>(most), found.end(),
                      [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
    for (size_t k = 0; k < most; ++k) {
      out.feature[c * static_cast<size_t>(count) + k] = found[k].second;
      out.phi[c * static_cast<size_t>(count) + k] = found[k].first;
    }
  }
  return out;
}

}  // namespace microtome::analyses
