#include <algorithm>
#include <cmath>
#include <limits>

#include "app/report/artifact_html.h"
#include "app/report/html.h"
#include "app/report/summary_table.h"
#include "app/report/token_chips.h"

namespace microtome::report {
namespace {

constexpr size_t kTableRows = 300, kTableColumns = 40;

struct ColumnLook {
  bool numeric = true;
  int decimals = 0;
  bool layer = false;  // whole numbers that name a layer
};

ColumnLook look_of(const Table& t, size_t c) {
  ColumnLook look;
  std::vector<double> reals;
  bool any = false;
  for (const auto& row : t.rows) {
    if (c >= row.size()) continue;
    if (std::holds_alternative<std::string>(row[c])) look.numeric = false;
    if (const double* d = std::get_if<double>(&row[c])) reals.push_back(*d);
    any = any || !std::holds_alternative<std::monostate>(row[c]);
  }
  look.numeric = look.numeric && any;
  look.decimals = common_decimals(reals);
  look.layer = look.numeric && reals.empty() && t.columns[c].name == "layer";
  return look;
}

// Texts whose blanks matter (tokens) become chips; others stay prose.
std::string text_cell(const std::string& s) {
  bool blank_edge = !s.empty() && (s.front() == ' ' || s.back() == ' ' || s.find_first_of("\n\t") != std::string::npos);
  if (blank_edge && s.size() <= 64) return token_chip(s);
  return escape(shorten(s, 400));
}

std::string cell_html(const Cell& cell, const ColumnLook& look, const ModelFacts* model) {
  if (const auto* s = std::get_if<std::string>(&cell)) return "<td>" + text_cell(*s) + "</td>";
  std::string open = look.numeric ? "<td class=\"n\">" : "<td>";
  if (const auto* i = std::get_if<int64_t>(&cell)) {
    MixerKind kind = look.layer && model ? model->kind(*i) : MixerKind::kNone;
    std::string mark = kind == MixerKind::kSoftmax     ? "<i class=\"m-s\"></i>"
                       : kind == MixerKind::kRecurrent ? "<i class=\"m-r\"></i>"
                                                       : "";
    return open + mark + (look.layer ? std::to_string(*i) : count(*i)) + "</td>";
  }
  if (const auto* d = std::get_if<double>(&cell)) return open + fixed_number(*d, look.decimals) + "</td>";
  return open + "</td>";
}

std::string interval(const SummaryItem& item) {
  if (!std::isfinite(item.low) || !std::isfinite(item.high)) return {};
  return " <span class=\"ci\">[" + number(item.low) + ", " + number(item.high) + "]</span>";
}

// A row a thing, a column a quantity; what the quantities are stands below.
std::string summary_table_html(const SummaryTable& t, const std::string& label, const char* counted, bool& intervals) {
  const size_t rows = std::min(t.things.size(), kTableRows), columns = std::min(t.names.size(), kTableColumns);
  std::string out = (label.empty() ? "" : "<p class=\"note\">" + escape(shorten(label, 100)) + "</p>") + "<div class=\"tw\"><table><thead><tr><th scope=\"col\">of</th>", meanings;
  int64_t n = 0;
  bool one_n = true;
  for (size_t c = 0; c < columns; ++c) {
    const SummaryItem& first = *t.first[c];
    out += "<th class=\"n\" scope=\"col\">" + escape(shorten(t.names[c], 60)) + (first.unit.empty() ? "" : " <span class=\"unit\">" + escape(shorten(first.unit, 40)) + "</span>") + "</th>";
    if (!first.help.empty()) meanings += (meanings.empty() ? "" : "; ") + escape(shorten(t.names[c], 60)) + ": " + escape(shorten(first.help, 400));
  }
  out += "</tr></thead><tbody>";
  for (size_t r = 0; r < rows; ++r) {
    out += "<tr><td>" + escape(shorten(t.things[r], 120)) + "</td>";
    for (size_t c = 0; c < columns; ++c) {
      const SummaryItem* item = t.cells[r][c];
      const std::string ci = item ? interval(*item) : "";
      intervals = intervals || !ci.empty();
      out += "<td class=\"n\">" + (item ? number(item->value) + ci : std::string()) + "</td>";
      if (!item || item->n <= 0) continue;
      one_n = one_n && (n == 0 || n == item->n);
      n = item->n;
    }
    out += "</tr>";
  }
  out += "</tbody></table></div>";
  if (n > 0 && one_n) meanings = "Over " + count(n) + " " + counted + ". " + meanings;
  return out + (meanings.empty() ? "" : "<p class=\"note\">" + meanings + ".</p>");
}

}  // namespace

std::string table_html(const Table& t, const ModelFacts* model) {
  size_t columns = std::min(t.columns.size(), kTableColumns), rows = std::min(t.rows.size(), kTableRows);
  if (columns == 0) return "<p class=\"note\">The table has no columns.</p>";
  std::vector<ColumnLook> looks;
  std::string out = "<div class=\"tw\"><table><thead><tr>";
  for (size_t c = 0; c < columns; ++c) {
    looks.push_back(look_of(t, c));
    const Column& column = t.columns[c];
    out += std::string("<th class=\"so") + (looks[c].numeric ? " n" : "") + "\" scope=\"col\"";
    if (!column.help.empty()) out += " title=\"" + escape(shorten(column.help, 400)) + "\"";
    out += ">" + escape(shorten(column.name, 80));
    if (!column.unit.empty()) out += " <span class=\"unit\">" + escape(shorten(column.unit, 40)) + "</span>";
    out += "</th>";
  }
  out += "</tr></thead><tbody>";
  for (size_t r = 0; r < rows; ++r) {
    out += "<tr>";
    for (size_t c = 0; c < columns; ++c)
      out += cell_html(c < t.rows[r].size() ? t.rows[r][c] : Cell{}, looks[c], model);
    out += "</tr>";
  }
  out += "</tbody></table></div>";
  if (rows < t.rows.size() || columns < t.columns.size()) {
    out += "<p class=\"note\">The first " + count(static_cast<int64_t>(rows)) + " of " +
           count(static_cast<int64_t>(t.rows.size())) + " rows and " + std::to_string(columns) + " of " +
           std::to_string(t.columns.size()) + " columns; the whole table is in the stored result.</p>";
  }
  return out;
}

std::string summary_html(const RunSet& set, const ReportIndex& index) {
  std::vector<const SummaryItem*> items;  // first of each name, in order
  std::string tables, counted;
  bool intervals = false;
  for (const RunColumn& c : set.columns) {
    std::vector<const SummaryItem*> rest;
    const SummaryTable table = summary_table(c.run->result.summary, rest);
    if (!table.empty()) tables += summary_table_html(table, set.columns.size() > 1 ? c.label : "", counted_in(c.run->record), intervals);
    for (const SummaryItem* item : rest) {
      bool known = std::any_of(items.begin(), items.end(), [&](const auto* i) { return i->name == item->name; });
      if (!known && items.size() < 100) items.push_back(item);
    }
    const std::string in = counted_in(c.run->record);
    if (counted.find(in) == std::string::npos) counted += (counted.empty() ? "" : " / ") + in;
  }
  const std::string note = "<p class=\"note\">In brackets: 95 % interval over prompts (bootstrap).</p>";
  if (items.empty()) return tables + (intervals ? note : "");
  std::string out = "<div class=\"tw\"><table><thead><tr><th scope=\"col\">quantity</th>";
  for (const RunColumn& c : set.columns) {
    out += "<th class=\"n\" scope=\"col\">" +
           (set.columns.size() > 1 ? model_mark(index.models[c.model]) + escape(shorten(c.label, 60)) : "value") +
           "</th>";
  }
  out += "<th class=\"n\" scope=\"col\">" + counted + "</th><th scope=\"col\">meaning</th></tr></thead><tbody>";
  for (const SummaryItem* first : items) {
    out += "<tr><td>" + escape(shorten(first->name, 80)) +
           (first->unit.empty() ? "" : " <span class=\"unit\">" + escape(shorten(first->unit, 40)) + "</span>") +
           "</td>";
    std::string counts;
    for (const RunColumn& c : set.columns) {
      out += "<td class=\"n\">";
      for (const SummaryItem& item : c.run->result.summary) {
        if (item.name != first->name) continue;
        std::string ci = interval(item);
        intervals = intervals || !ci.empty();
        out += number(item.value) + ci;
        std::string n = item.n > 0 ? count(item.n) : std::string();
        if (!n.empty() && counts.find(n) == std::string::npos) counts += (counts.empty() ? "" : " / ") + n;
        break;
      }
      out += "</td>";
    }
    out += "<td class=\"n\">" + counts + "</td><td>" + escape(shorten(first->help, 400)) + "</td></tr>";
  }
  out += "</tbody></table></div>" + tables;
  if (intervals) out += note;
  return out;
}

}  // namespace microtome::report
