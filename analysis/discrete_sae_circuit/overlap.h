// overlap.h — scores of heads and pairs of heads from the codes of positive and negative examples, and how well scores find
// given heads.
#pragma once

#include <cstdint>
#include <vector>

namespace microtome::analyses {

struct Overlap {
  int64_t unique = 0;                  // codes that only positive examples have
  int64_t all = 0;                     // codes that any example has
  double score() const { return all ? static_cast<double>(unique) / static_cast<double>(all) : 0; }
};
// Codes of one head, an example each.
Overlap code_overlap(const std::vector<int64_t>& positive, const std::vector<int64_t>& negative);
// Pairs of codes that two heads have on the same example; all four as long as in code_overlap.
Overlap pair_overlap(const std::vector<int64_t>& positive_a, const std::vector<int64_t>& positive_b,
                     const std::vector<int64_t>& negative_a, const std::vector<int64_t>& negative_b);
}  // namespace microtome::analyses
