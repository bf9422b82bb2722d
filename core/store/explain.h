// explain.h — what a run's key was made of, and how the keys of two runs differ: from the stored text, so also for runs
// of older versions of this program.
#pragma once

#include <string>
#include <vector>

#include "core/store/result_store.h"

namespace microtome {

// One line a field: tag, value, what it means; then what is known of the run and is not in the key. Plain text, fit for
// a terminal whatever the record holds.
std::string explain_key(const RunRecord& run);

// A field that differs. a, b: the values; kAbsentField where one run's key has no such field.
inline constexpr const char* kAbsentField = "(absent)";
struct KeyDifference {
  std::string tag, a, b, meaning;
};
// In the order of the fields of `a`, then those that only `b` has. Empty: the same key.
std::vector<KeyDifference> diff_keys(const RunRecord& a, const RunRecord& b);

}  // namespace microtome
