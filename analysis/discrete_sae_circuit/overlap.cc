#include "analysis/discrete_sae_circuit/overlap.h"

#include <algorithm>
#include <cmath>
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

}  // namespace microtome::analyses
