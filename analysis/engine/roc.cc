#include "analysis/engine/roc.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace microtome::engine {

Roc roc_curve(const std::vector<double>& scores, const std::vector<bool>& truth) {
  Roc out;
  const double positives = static_cast<double>(std::count(truth.begin(), truth.end(), true)), negatives = static_cast<double>(truth.size()) - positives;
  out.area = std::nan("");
  if (positives == 0 || negatives == 0) return out;
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  out.false_rate = {0};
  out.true_rate = {0};
  out.area = 0;
  double hit = 0, miss = 0;
  for (size_t i = 0; i < order.size();) {
    const double here = scores[order[i]];
    for (; i < order.size() && scores[order[i]] == here; ++i) (truth[order[i]] ? hit : miss) += 1;
    out.area += (miss / negatives - out.false_rate.back()) * (hit / positives + out.true_rate.back()) / 2;
    out.false_rate.push_back(miss / negatives);
    out.true_rate.push_back(hit / positives);
  }
  return out;
}

}  // namespace microtome::engine
