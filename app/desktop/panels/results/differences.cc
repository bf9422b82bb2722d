#include "app/desktop/panels/results/differences.h"

#include <algorithm>

#include "core/store/explain.h"

namespace microtome::desktop {
namespace {

bool isHash(const std::string& text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string shown(const std::string& value, const std::string& name) {
  if (value == kAbsentField) return "–";
  if (!isHash(value)) return value.empty() ? "(none)" : value;
  const std::string digits = value.substr(0, 12) + "…";
  return name.empty() ? digits : name + "  " + digits;
}

std::string fieldName(const std::string& tag) {
  std::string out = tag.compare(0, 6, "param.") == 0 ? tag.substr(6) : tag;
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

std::string nameFor(const std::string& tag, const RunRecord& run) {
  if (tag == "weights") return run.spec.model_name;
  return tag == "dataset" ? run.spec.dataset_name : std::string();
}

}  // namespace

Table differenceTable(const RunRecord& a, const RunRecord& b) {
  Table out;
  out.name = "differences";
  out.title = "Runs " + std::to_string(a.id) + " and " + std::to_string(b.id) + ": what differs";
  out.columns = {{"field", "", "A field of the run's key: what affects its answer"},
                 {"run " + std::to_string(a.id), "", "On the left"},
                 {"run " + std::to_string(b.id), "", "On the right"},
                 {"meaning", "", ""}};
  for (const KeyDifference& d : diff_keys(a, b))
    out.rows.push_back({fieldName(d.tag), shown(d.a, nameFor(d.tag, a)), shown(d.b, nameFor(d.tag, b)), d.meaning});
  return out;
}

}  // namespace microtome::desktop
