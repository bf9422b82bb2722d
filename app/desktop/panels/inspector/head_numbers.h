// head_numbers.h — what a result says about one head: numbers found by the axes "layer" and "head" of its arrays and the
// columns of that name of its tables. No analysis is named here.
#pragma once

#include <QString>
#include <cstdint>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::desktop {

struct HeadNumber {
  QString name, unit, help;            // one line each
  QString where;                       // "mean over 8 prompts", "largest, at position 12"; empty: the number itself
  double value = 0;
};

// In the result's order, arrays before tables; a name counts once. A "prompt" axis is averaged (NaN left out), of one further
// axis the entry largest in size is given; arrays with more axes are pictures, not numbers. NaN is left out.
std::vector<HeadNumber> headNumbers(const AnalysisResult& result, int64_t layer, int64_t head);

}  // namespace microtome::desktop
