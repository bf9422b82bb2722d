#include "app/report/summary_table.h"

#include <algorithm>

namespace microtome::report {
namespace {

// "fvu (layer 0)" → "fvu", "layer 0"; false: of nothing in particular.
bool split(const std::string& text, std::string& name, std::string& thing) {
  const size_t at = text.find(" (");
  if (at == std::string::npos || at == 0 || text.back() != ')') return false;
  name = text.substr(0, at);
  thing = text.substr(at + 2, text.size() - at - 3);
  return !thing.empty();
}

size_t place(std::vector<std::string>& list, const std::string& text) {
  const auto at = std::find(list.begin(), list.end(), text);
  if (at != list.end()) return static_cast<size_t>(at - list.begin());
  list.push_back(text);
  return list.size() - 1;
}

}  // namespace

SummaryTable summary_table(const std::vector<SummaryItem>& items, std::vector<const SummaryItem*>& rest) {
  SummaryTable out;
  rest.clear();
  std::string name, thing;
  for (const SummaryItem& item : items) {
    if (!split(item.name, name, thing)) {
      rest.push_back(&item);
      continue;
    }
    const size_t row = place(out.things, thing), column = place(out.names, name);
    if (column == out.first.size()) out.first.push_back(&item);
    out.cells.resize(out.things.size());
    for (auto& r : out.cells) r.resize(out.names.size(), nullptr);
    out.cells[row][column] = &item;
  }
  if (out.things.size() >= 2 && out.names.size() >= 2) return out;
  rest.clear();
  for (const SummaryItem& item : items) rest.push_back(&item);
  return {};
}

const char* counted_in(const RunRecord& run) {
  const auto has = [&](const char* param) {
    const auto at = run.spec.answer_params.find(param);
    return at != run.spec.answer_params.end() && !at->second.empty();
  };
  // Text in place of prompts: training tells means over its held-out tokens, all else over stretches of text.
  if (!has("corpus")) return "prompts";
  return has("eval_tokens") ? "tokens" : "sequences";
}

}  // namespace microtome::report
