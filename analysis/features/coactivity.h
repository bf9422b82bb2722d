// coactivity.h — which features fire on the same tokens: the phi coefficient of two features' activity over a sample of tokens.
// Free of LibTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/progress.h"

namespace microtome::analyses {

struct Partners {
  std::vector<int64_t> feature;        // [chosen, count], -1 behind the last
  std::vector<double> phi;             // NaN there
  int64_t count = 0;
};

// ends, features: as TokenSample::write gives them; a token's features are distinct. For each chosen feature the `count` others
// with the largest phi = (n n11 - n1 n2) / sqrt(n1 (n - n1) n2 (n - n2)), of those that share kLeastShared tokens or more
// with it; equal ones by index. Time grows with the sum over tokens of active features squared, memory with entries and d_sae.
inline constexpr int64_t kLeastShared = 2;
Partners coactive_features(const std::vector<int64_t>& ends, const std::vector<int64_t>& features, int64_t d_sae, const std::vector<int64_t>& chosen, int64_t count, Progress& progress);

}  // namespace microtome::analyses
