// differences.h — how the keys of two runs differ, as a table that a person can read.
#pragma once

#include "core/base/artifact.h"
#include "core/store/result_store.h"

namespace microtome::desktop {

// Columns: field, run a, run b, meaning. A hash stands behind the name of what it is of, cut to 12 digits. No rows: the same
// key.
Table differenceTable(const RunRecord& a, const RunRecord& b);

}  // namespace microtome::desktop
