// roc.h — receiver operating characteristic of scores against a truth, and the area under it: the chance that something true
// scores above something that is not, equal scores counting half.
#pragma once

#include <vector>

namespace microtome::engine {

struct Roc {
  std::vector<double> false_rate, true_rate;           // points from (0, 0) to (1, 1); ties move together
  double area = 0;                                     // NaN, and no points, where nothing is true or everything is
};
// One score and one truth each.
Roc roc_curve(const std::vector<double>& scores, const std::vector<bool>& truth);

}  // namespace microtome::engine
