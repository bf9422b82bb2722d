// result_json.h — results in the forms that scripts read: result.json, and CSV.
#pragma once

#include <string>

#include "core/base/artifact.h"
#include "core/base/json.h"
#include "core/store/result_store.h"

namespace microtome {

// The result.json of the command line: {"format", "analysis", "title", "key", "summary", "findings", "warnings",
// "tables", "series", "texts", "circuits", "tensors", "parameters", "provenance"}. Arrays are listed (name, axes,
// shape, dtype) and not held. Numbers that are not finite become null, broken UTF-8 becomes U+FFFD. A parameter's text
// becomes a number or a truth value exactly when it is spelled as this program spells one.
Json result_to_json(const RunRecord& run, const AnalysisResult& result);

// RFC 4180 with LF line ends: a header line of column names, then the rows. A missing cell is empty, an empty text is
// "", numbers are the shortest that read back the same, NaN is nan and infinity inf.
std::string table_to_csv(const Table& table);
// Long form: one column an axis (the index) and "value"; a line an element. Throws Error(kInternal) when shape and data
// do not agree.
std::string arrays_to_csv(const NamedArray& array);

}  // namespace microtome
