// The report as Markdown: for issues, notebooks and diffs, where pictures are not wanted.
#include <algorithm>
#include <cmath>
#include <map>

#include "app/report/array_view.h"
#include "app/report/artifact_html.h"
#include "app/report/attribution_svg.h"
#include "app/report/feature_html.h"
#include "app/report/html.h"
#include "app/report/markdown.h"
#include "app/report/report.h"
#include "app/report/summary_table.h"
#include "core/base/circuit_ops.h"

namespace microtome {
namespace {

using namespace report;

constexpr size_t kRows = 60, kCells = 12, kPrompts = 8;

std::string md(const std::string& s, size_t limit = 400) { return escape_markdown(shorten(s, limit)); }

std::string pipe_row(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& c : cells) out += " " + c + " |";
  return out + "\n";
}

std::string pipe_rule(size_t columns, const std::vector<bool>& right) {
  std::string out = "|";
  for (size_t i = 0; i < columns; ++i) out += i < right.size() && right[i] ? "---:|" : "---|";
  return out + "\n";
}

std::string cell_md(const Cell& c, int decimals) {
  if (const auto* s = std::get_if<std::string>(&c)) {
    bool edge = !s->empty() && (s->front() == ' ' || s->back() == ' ');
    return edge ? code_span(shorten(*s, 64)) : md(*s);
  }
  if (const auto* i = std::get_if<int64_t>(&c)) return count(*i);
  if (const auto* d = std::get_if<double>(&c)) return fixed_number(*d, decimals);
  return "";
}

std::string table_md(const Table& t) {
  if (t.columns.empty()) return "The table has no columns.\n\n";
  std::vector<std::string> names;
  std::vector<int> decimals;
  std::vector<bool> right;
  for (size_t c = 0; c < t.columns.size(); ++c) {
    names.push_back(md(t.columns[c].name + (t.columns[c].unit.empty() ? "" : " (" + t.columns[c].unit + ")"), 80));
    std::vector<double> reals;
    bool text = false;
    for (const auto& row : t.rows) {
      if (c >= row.size()) continue;
      if (const double* d = std::get_if<double>(&row[c])) reals.push_back(*d);
      text = text || std::holds_alternative<std::string>(row[c]);
    }
    decimals.push_back(common_decimals(reals));
    right.push_back(!text);
  }
  std::string out = pipe_row(names) + pipe_rule(names.size(), right);
  for (size_t r = 0; r < std::min(t.rows.size(), kRows); ++r) {
    std::vector<std::string> cells;
    for (size_t c = 0; c < t.columns.size(); ++c)
      cells.push_back(c < t.rows[r].size() ? cell_md(t.rows[r][c], decimals[c]) : "");
    out += pipe_row(cells);
  }
  if (t.rows.size() > kRows)
    out += "\nThe first " + std::to_string(kRows) + " of " + count(static_cast<int64_t>(t.rows.size())) + " rows.\n";
  return out + "\n";
}

std::string axis_label(const HeatmapAxis& a, int64_t n, int64_t i) {
  if (a.labels.size() != static_cast<size_t>(n)) return std::to_string(i);
  return a.tokens ? std::to_string(i) + " " + code_span(shorten(a.labels[i], 24)) : md(a.labels[i], 24);
}

// Small maps whole; of large ones the cells of largest size.
std::string map_md(const Heatmap& m) {
  if (m.n_cols <= static_cast<int64_t>(kCells) && m.n_rows <= 48) {
    std::vector<std::string> head = {md(m.rows.name + " \\ " + m.cols.name)};
    for (int64_t c = 0; c < m.n_cols; ++c) head.push_back(axis_label(m.cols, m.n_cols, c));
    std::string out = pipe_row(head) + pipe_rule(head.size(), std::vector<bool>(head.size(), true));
    int decimals = common_decimals(m.values);
    for (int64_t r = 0; r < m.n_rows; ++r) {
      std::vector<std::string> cells = {axis_label(m.rows, m.n_rows, r)};
      for (int64_t c = 0; c < m.n_cols; ++c) cells.push_back(fixed_number(m.values[r * m.n_cols + c], decimals));
      out += pipe_row(cells);
    }
    return out + "\n";
  }
  std::vector<int64_t> order;
  for (int64_t i = 0; i < static_cast<int64_t>(m.values.size()); ++i) {
    if (std::isfinite(m.values[i])) order.push_back(i);
  }
  size_t n = std::min(order.size(), kCells);
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(n), order.end(), [&](int64_t a, int64_t b) {
    double x = std::fabs(m.values[a]), y = std::fabs(m.values[b]);
    return x != y ? x > y : a < b;
  });
  std::string out = "The " + std::to_string(n) + " largest of " + count(static_cast<int64_t>(m.values.size())) +
                    " cells:\n\n" + pipe_row({md(m.rows.name), md(m.cols.name), "value"}) +
                    pipe_rule(3, {false, false, true});
  for (size_t i = 0; i < n; ++i) {
    out += pipe_row({axis_label(m.rows, m.n_rows, order[i] / m.n_cols),
                     axis_label(m.cols, m.n_cols, order[i] % m.n_cols), number(m.values[order[i]])});
  }
  return out + "\n";
}

std::string tensors_md(const TensorMap& map, const ViewContext& context) {
  if (const std::string weights = weights_text(map); !weights.empty()) return md(weights, 1000) + "\n\n";
  std::string out;
  for (const NamedArray& a : map.arrays) {
    ArrayView view = view_array(a, map, context);
    out += "**" + md(a.name) + "**" + (a.unit.empty() ? "" : " (" + md(a.unit) + ")") +
           (a.help.empty() ? "" : ": " + md(a.help, 600));
    for (const std::string& n : view.notes) {
      if (n.rfind("Hatched", 0) != 0 && n.rfind("Enlarged", 0) != 0) out += " " + md(n);
    }
    out += "\n\n";
    if (view.kind == ArrayView::Kind::kNumber) out += number(view.numbers.front(), 4) + "\n\n";
    if (view.kind == ArrayView::Kind::kBars) {
      out += pipe_row({md(view.bars.name), "value"}) + pipe_rule(2, {false, true});
      int64_t n = static_cast<int64_t>(view.numbers.size());
      int decimals = common_decimals(view.numbers);
      for (int64_t i = 0; i < n; ++i)
        out += pipe_row({axis_label(view.bars, n, i), fixed_number(view.numbers[i], decimals)});
      out += "\n";
    }
    if (view.kind == ArrayView::Kind::kMap) out += map_md(view.maps.front());
    if (view.kind == ArrayView::Kind::kPanels || view.kind == ArrayView::Kind::kPattern) {
      for (size_t i = 0; i < std::min<size_t>(view.maps.size(), 2); ++i) {
        const Heatmap& m = view.maps[view.chosen.size() > i ? view.chosen[i] : i];
        out += md(m.label, 80) + ". " + map_md(m);
      }
      if (view.maps.size() > 2) out += std::to_string(view.maps.size() - 2) + " more maps are in the HTML form.\n\n";
    }
  }
  return out;
}

// The strongest edges as a table; nodes by layer and groups as plain lists.
std::string circuit_md(const Circuit& c) {
  const CircuitCounts n = count_circuit(c);
  std::string out = count(n.edges) + " of " + count(n.all_edges) + " edges and " + count(n.nodes) + " of " + count(n.all_nodes) + " nodes belong to the circuit.\n\n";
  const CircuitIndex index(c);
  Table edges;
  edges.columns = {{"from", "", ""}, {"to", "", ""}, {"score", "", ""}};
  for (size_t e : edges_by_strength(c, index)) edges.rows.push_back({c.edges[e].from, c.edges[e].to, c.edges[e].score});
  if (!edges.rows.empty()) out += table_md(edges);
  std::map<int, std::string> ranks;
  for (const auto& node : c.nodes) {
    std::string& names = ranks[circuit_place(node.name).stage()];
    if (node.in_graph && names.size() < 4000) names += (names.empty() ? "" : ", ") + md(node.name, 64);
  }
  for (const auto& [stage, names] : ranks)
    if (!names.empty()) out += "- " + names + "\n";
  out += "\n";
  for (size_t g = 0; g < std::min<size_t>(c.groups.size(), 100); ++g) {
    std::string names;
    for (size_t i = 0; i < std::min<size_t>(c.groups[g].nodes.size(), 100); ++i) names += (i ? ", " : "") + md(c.groups[g].nodes[i], 64);
    out += "- group " + md(c.groups[g].name, 80) + ": " + names + "\n";
  }
  return out + (c.groups.empty() ? "" : "\n");
}

std::string artifact_md(const Artifact& a, const ViewContext& context) {
  std::string title = std::visit([](const auto& x) { return x.title.empty() ? x.name : x.title; }, a);
  std::string out = title.empty() ? "" : "#### " + md(title, 200) + "\n\n";
  if (const auto* t = std::get_if<Table>(&a)) return out + table_md(*t);
  if (const auto* t = std::get_if<TensorMap>(&a)) return out + tensors_md(*t, context);
  if (const auto* t = std::get_if<Text>(&a)) return out + md(t->markdown, 20000) + "\n\n";
  if (const auto* s = std::get_if<Series>(&a)) {
    out += pipe_row({"curve", "points", "first", "last", "largest"}) + pipe_rule(5, {false, true, true, true, true});
    for (const auto& line : s->lines) {
      double largest = std::nan("");
      for (double v : line.y) largest = std::isnan(largest) || v > largest ? v : largest;
      out += pipe_row({md(line.name, 80), std::to_string(line.y.size()), line.y.empty() ? "" : number(line.y.front()),
                       line.y.empty() ? "" : number(line.y.back()), number(largest)});
    }
    return out + "\n";
  }
  if (const auto* c = std::get_if<Circuit>(&a)) return out + circuit_md(*c);
  if (const auto* f = std::get_if<FeatureSet>(&a)) return out + features_md(*f);
  if (const auto* g = std::get_if<AttributionGraph>(&a))
    return out + md(attribution_words(*g), 2000) + "\n\n" + table_md(attribution_edge_table(*g, 30)) + table_md(attribution_node_table(*g, 30));
  return out;
}

std::string summary_md(const AnalysisResult& result, const char* counted) {
  if (result.summary.empty()) return {};
  std::vector<const SummaryItem*> rest;
  const SummaryTable t = summary_table(result.summary, rest);
  std::string out;
  if (!t.empty()) {
    std::vector<std::string> head = {"of"};
    std::vector<bool> right = {false};
    for (size_t c = 0; c < t.names.size(); ++c) {
      head.push_back(md(t.names[c], 80) + (t.first[c]->unit.empty() ? "" : " (" + md(t.first[c]->unit, 40) + ")"));
      right.push_back(true);
    }
    out += pipe_row(head) + pipe_rule(head.size(), right);
    for (size_t r = 0; r < t.things.size(); ++r) {
      std::vector<std::string> row = {md(t.things[r], 120)};
      for (const SummaryItem* item : t.cells[r]) row.push_back(item ? number(item->value) : "");
      out += pipe_row(row);
    }
    out += "\n";
    for (size_t c = 0; c < t.names.size(); ++c)
      if (!t.first[c]->help.empty()) out += "- " + md(t.names[c], 80) + ": " + md(t.first[c]->help) + "\n";
    out += "\n";
  }
  if (rest.empty()) return out;
  out += pipe_row({"quantity", "value", "95 % interval", counted, "meaning"}) + pipe_rule(5, {false, true, true, true, false});
  for (const SummaryItem* item : rest) {
    const SummaryItem& s = *item;
    std::string ci = std::isfinite(s.low) && std::isfinite(s.high) ? number(s.low) + " to " + number(s.high) : "";
    out += pipe_row({md(s.name, 80) + (s.unit.empty() ? "" : " (" + md(s.unit, 40) + ")"), number(s.value), ci,
                     s.n > 0 ? count(s.n) : "", md(s.help)});
  }
  return out + "\n";
}

std::string prompts_md(const PromptSet& set) {
  std::string out = "### " + md(set.title.empty() ? set.name : set.title, 160) + "\n\n";
  if (!set.description.empty()) out += md(set.description, 2000) + "\n\n";
  for (size_t i = 0; i < std::min(set.prompts->size(), kPrompts); ++i) {
    const Json& p = (*set.prompts)[i];
    auto joined = [&](const char* key) {
      std::string s;
      for (const std::string& t : token_list(find_key(p, key))) s += (s.empty() ? "" : "|") + shorten(t, 48);
      return s;
    };
    out += std::to_string(i + 1) + ". clean " + code_span(joined("clean")) + "\n";
    if (std::string c = joined("corrupted"); !c.empty()) out += "   corrupted " + code_span(c) + "\n";
    std::string answer = text_at(p, "answer", joined("answers"));
    if (!answer.empty())
      out += "   answer " + code_span(shorten(answer, 48)) +
             (joined("wrong").empty() ? "" : " against " + code_span(joined("wrong"))) + "\n";
  }
  if (set.prompts->size() > kPrompts)
    out += "\nThe first " + std::to_string(kPrompts) + " of " + count(static_cast<int64_t>(set.prompts->size())) +
           " prompts.\n";
  return out + "\n";
}

}  // namespace

std::string render_markdown(const std::vector<ReportRun>& runs, const ReportOptions& options) {
  std::string out = "# " + md(options.title.empty() ? "Microtome report" : options.title, 200) + "\n\n";
  if (!options.question.empty()) out += md(options.question, 4000) + "\n\n";
  if (!options.generated.empty()) out += "Written " + md(options.generated, 80) + ".\n\n";
  if (!options.notes_markdown.empty()) out += "## Notes\n\n" + clean_utf8(options.notes_markdown) + "\n\n";
  if (runs.empty())
    return out + "No runs: this report was asked for without any finished run, so there is nothing to show.\n";
  ReportIndex index = make_index(runs);

  out += "## What was found\n\n";
  std::string findings;
  for (const ReportRun& run : runs) {
    for (const std::string& f : run.result.findings) {
      findings +=
          "- " + md(f, 2000) + " (" + md(run.record.model_name, 100) + ", " + md(run.record.analysis, 80) + ")\n";
    }
  }
  out += (findings.empty() ? "None of these runs states a finding in words; their numbers follow.\n" : findings) + "\n";

  if (!options.pictures.empty()) {
    out += "## Pictures\n\n";
    for (const ReportPicture& p : options.pictures) {
      out += p.file.empty() ? "**" + md(p.title, 200) + "**\n\n" : "![" + md(p.title, 200) + "](<" + p.file + ">)\n\n";
      if (!p.note.empty()) out += md(p.note, 2000) + "\n\n";
      if (!p.command.empty()) out += code_block(p.command) + "\n";
    }
  }

  out += index.models.size() > 1 ? "## Models\n\n" : "## Model\n\n";
  for (const ModelFacts& m : index.models) {
    out += "- **" + md(m.label, 100) + "**";
    if (m.facts) {
      int n = 0;
      for (const auto& [k, v] : m.facts->items()) {
        if (v.is_primitive() && k != "name" && ++n <= 24) out += ", " + md(k, 40) + " " + md(scalar_text(v), 120);
      }
      size_t soft = std::count(m.layers.begin(), m.layers.end(), MixerKind::kSoftmax);
      size_t recurrent = std::count(m.layers.begin(), m.layers.end(), MixerKind::kRecurrent);
      if (!m.layers.empty())
        out += "; " + std::to_string(soft) + " softmax and " + std::to_string(recurrent) + " recurrent of " +
               std::to_string(m.layers.size()) + " layers";
    }
    out += m.weights_hash.empty() ? "\n" : "; weights " + code_span(short_hash(m.weights_hash)) + "\n";
  }
  out += "\n## Prompts\n\n";
  for (const PromptSet& set : index.prompts) out += prompts_md(set);
  if (index.prompts.empty()) out += "The runs keep no prompts.\n\n";

  for (const AnalysisGroup& g : index.groups) {
    out += "## " + md(g.title, 160) + "\n\n";
    if (!g.definition.empty()) out += md(g.definition, 3000) + "\n\n";
    if (!g.source.empty()) out += "Source: " + md(source_text(g.source), 300) + "\n\n";
    for (const RunSet& set : g.sets) {
      for (const RunColumn& c : set.columns) {
        out += "### " + md(c.label, 100) + (set.heading.empty() ? "" : ", " + md(set.heading, 200)) + "\n\n";
        if (std::string u = unfinished_text(c.run->record); !u.empty()) out += "Warning: " + md(u) + "\n\n";
        for (const std::string& w : c.run->result.warnings) out += "Warning: " + md(w, 1000) + "\n\n";
        out += summary_md(c.run->result, counted_in(c.run->record));
        HeadRanking ranking = rank_heads(runs, index, c.model);
        ViewContext context{&index.models[c.model], first_prompt_tokens(*c.run), &ranking};
        for (const Artifact& a : c.run->result.artifacts) out += artifact_md(a, context);
      }
    }
  }
  out += "## How to repeat\n\n";
  for (const ReportRun& run : runs) {
    const RunSpec& s = run.record.spec;
    std::string command = run.record.command.empty() ? s.command : run.record.command;
    out += "### " + md(run.record.analysis + " on " + run.record.model_name, 160) + "\n\n";
    if (!command.empty()) out += code_block(command) + "\n";
    out += "- parameters: " + md(params_text(run.record), 2000) + "\n- key " + code_span(run.record.key_hash) +
           ", weights " + code_span(s.weights_hash) + "\n- " + md(s.dtype) + ", seed " + std::to_string(s.seed) +
           ", device " + md(s.device) + ", made " + md(run.record.created) + "\n\n";
  }
  return out;
}

}  // namespace microtome
