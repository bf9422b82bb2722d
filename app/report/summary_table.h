// summary_table.h — a summary that tells the same quantities of several things ("fvu (layer 0)", "fvu (layer 1)" …) as a table: a row a
// thing, a column a quantity. Shared by the reports and the command line.
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/store/result_store.h"

namespace microtome::report {

struct SummaryTable {
  std::vector<std::string> things, names;    // rows; columns, as the quantities are called
  std::vector<const SummaryItem*> first;     // one a column: its unit and meaning
  // [thing][name]; null: not told of this one.
  std::vector<std::vector<const SummaryItem*>> cells;
  bool empty() const { return things.empty(); }
};
// `rest` gets the items outside the table, in their order. Empty, with all in `rest`: fewer than two things or two quantities.
// Points into `items`.
SummaryTable summary_table(const std::vector<SummaryItem>& items, std::vector<const SummaryItem*>& rest);

// What SummaryItem::n counts in this run: "prompts", "tokens" or "sequences".
const char* counted_in(const RunRecord& run);

}  // namespace microtome::report
