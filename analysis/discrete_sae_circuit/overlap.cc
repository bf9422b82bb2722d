#include "analysis/discrete_sae_circuit/overlap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace microtome::analyses {
namespace {

template <class T>
Overlap of(const std::set<T>& positive, const std::set<T>& negative) {
  Overlap out;
  out.all = static_cast<int64_t>(negative.size());
  for (const T& code : positive) out.unique += !negative.count(code);
  out.all += out.unique;
  return out;
}

std::set<std::pair<int64_t, int64_t>> pairs(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::set<std::pair<int64_t, int64_t>> out;
  for (size_t i = 0; i < a.size(); ++i) out.insert({a[i], b[i]});
  return out;
}

}  // namespace

Overlap code_overlap(const std::vector<int64_t>& positive, const std::vector<int64_t>& negative) {
  return of(std::set<int64_t>(positive.begin(), positive.end()), std::set<int64_t>(negative.begin(), negative.end()));
}

Overlap pair_overlap(const std::vector<int64_t>& positive_a, const std::vector<int64_t>& positive_b,
                     const std::vector<int64_t>& negative_a, const std::vector<int64_t>& negative_b) {
  return of(pairs(positive_a, positive_b), pairs(negative_a, negative_b));
}

double roc_area(const std::vector<double>& scores, const std::vector<bool>& in_reference) {
  double won = 0, all = 0;
  for (size_t i = 0; i < scores.size(); ++i)
    for (size_t j = 0; j < scores.size(); ++j) {
      if (!in_reference[i] || in_reference[j]) continue;
      won += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
      ++all;
    }
  return all > 0 ? won / all : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace microtome::analyses
