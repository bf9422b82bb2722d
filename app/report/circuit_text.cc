#include "app/report/circuit_text.h"

#include <charconv>
#include <cmath>
#include <map>
#include <unordered_map>

#include "app/report/html.h"
#include "core/base/circuit_ops.h"
#include "core/store/result_json.h"

namespace microtome::report {
namespace {

using Kind = CircuitPlace::Kind;

// Inside a double-quoted DOT text: a backslash would begin an escape of graphviz's own.
std::string dot_text(std::string_view text) {
  std::string out = "\"";
  for (char c : clean_utf8(text)) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n' || c == '\t') c = ' ';
    out += c;
  }
  return out + "\"";
}

// As xs:double and Python spell it; never a locale's comma.
std::string plain_number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "INF" : "-INF";
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

const char* kind_name(Kind k) {
  switch (k) {
    case Kind::kInput: return "input";
    case Kind::kHead: return "head";
    case Kind::kMixer: return "mixer";
    case Kind::kMlp: return "mlp";
    case Kind::kLogits: return "logits";
    default: return "other";
  }
}

struct Chosen {
  CircuitIndex index;
  std::vector<char> nodes, edges;                  // shown
  std::vector<double> scores;                      // of nodes
  std::unordered_map<std::string_view, size_t> group;
  double largest = 0;                              // finite |score| of a shown edge

  Chosen(const Circuit& c, bool all_edges) : index(c), nodes(index.names.size(), 0), edges(c.edges.size(), 0), scores(index.names.size(), std::nan("")) {
    for (size_t e = 0; e < c.edges.size(); ++e) {
      edges[e] = all_edges || index.belongs[e];
      if (!edges[e]) continue;
      nodes[static_cast<size_t>(index.from[e])] = nodes[static_cast<size_t>(index.to[e])] = 1;
      if (std::isfinite(c.edges[e].score)) largest = std::max(largest, std::fabs(c.edges[e].score));
    }
    std::unordered_map<std::string_view, size_t> first;
    for (size_t i = 0; i < index.names.size(); ++i) first.emplace(index.names[i], i);
    std::vector<char> seen(index.names.size(), 0);
    for (const auto& n : c.nodes) {
      const size_t i = first.at(n.name);
      if (seen[i]) continue;
      seen[i] = 1;
      scores[i] = n.score;
      if (n.in_graph || all_edges) nodes[i] = 1;
    }
    for (size_t g = 0; g < c.groups.size(); ++g) {
      for (const auto& n : c.groups[g].nodes) group.emplace(n, g);
    }
  }
};

std::string dot_node(const Chosen& c, size_t i) {
  const std::string_view name = c.index.names[i];
  const CircuitPlace p = circuit_place(name);
  std::string label(name);
  if (p.kind == Kind::kHead) label = std::to_string(p.layer) + "." + std::to_string(p.head);
  std::string out = "n" + std::to_string(i) + " [label=" + dot_text(label) + ", shape=" + (p.kind == Kind::kHead ? "circle" : "box");
  if (!std::isnan(c.scores[i])) out += ", tooltip=" + dot_text(std::string(name) + ": " + plain_number(c.scores[i]));
  return out + "];\n";
}

}  // namespace

std::string circuit_dot(const Circuit& c, bool all_edges) {
  const Chosen chosen(c, all_edges);
  const CircuitIndex& index = chosen.index;
  std::string out = "digraph " + dot_text(c.name.empty() ? "circuit" : c.name) +
                    " {\n  rankdir=BT; newrank=true; splines=true;\n  node [fontname=\"Helvetica\", fontsize=11];\n"
                    "  edge [fontname=\"Helvetica\", fontsize=9, arrowsize=0.6];\n";
  if (!c.title.empty()) out += "  label=" + dot_text(c.title) + "; labelloc=t;\n";
  for (size_t g = 0; g < c.groups.size(); ++g) {
    std::string inside;
    for (size_t i = 0; i < index.names.size(); ++i) {
      const auto it = chosen.group.find(index.names[i]);
      if (chosen.nodes[i] && it != chosen.group.end() && it->second == g) inside += "    " + dot_node(chosen, i);
    }
    if (!inside.empty()) out += "  subgraph cluster_" + std::to_string(g) + " {\n    label=" + dot_text(c.groups[g].name) + "; style=rounded;\n" + inside + "  }\n";
  }
  std::map<int, std::string> ranks;
  for (size_t i = 0; i < index.names.size(); ++i) {
    if (!chosen.nodes[i]) continue;
    if (!chosen.group.count(index.names[i])) out += "  " + dot_node(chosen, i);
    const int stage = circuit_place(index.names[i]).stage();
    if (stage >= 0) ranks[stage] += " n" + std::to_string(i) + ";";
  }
  for (const auto& [stage, nodes] : ranks) out += "  { rank=same;" + nodes + " }\n";
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (!chosen.edges[e]) continue;
    const double score = c.edges[e].score, size = std::isfinite(score) && chosen.largest > 0 ? std::fabs(score) / chosen.largest : std::isinf(score) ? 1 : 0;
    out += "  n" + std::to_string(index.from[e]) + " -> n" + std::to_string(index.to[e]) + " [";
    if (!index.ports[e].empty()) out += "headlabel=" + dot_text(index.ports[e]) + ", ";
    out += "penwidth=" + coordinate(0.5 + 3.5 * size) + ", color=\"" + (score > 0 ? "#2166ac" : score < 0 ? "#b2182b" : "#777777") + "\"";
    if (!index.belongs[e]) out += ", style=dotted";
    out += ", tooltip=" + dot_text(c.edges[e].from + " -> " + c.edges[e].to + ": " + plain_number(score)) + "];\n";
  }
  return out + "}\n";
}

std::string circuit_graphml(const Circuit& c, bool all_edges) {
  const Chosen chosen(c, all_edges);
  const CircuitIndex& index = chosen.index;
  std::string out =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\" "
      "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"http://graphml.graphdrawing.org/xmlns "
      "http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd\">\n";
  for (const auto& [name, type] : {std::pair("label", "string"), {"kind", "string"}, {"layer", "int"}, {"head", "int"}, {"score", "double"}, {"group", "string"}})
    out += std::string("  <key id=\"n_") + name + "\" for=\"node\" attr.name=\"" + name + "\" attr.type=\"" + type + "\"/>\n";
  for (const auto& [name, type] : {std::pair("port", "string"), {"score", "double"}, {"in_graph", "boolean"}})
    out += std::string("  <key id=\"e_") + name + "\" for=\"edge\" attr.name=\"" + name + "\" attr.type=\"" + type + "\"/>\n";
  out += "  <graph id=\"circuit\" edgedefault=\"directed\">\n";
  const auto data = [](const char* key, const std::string& value) { return std::string("<data key=\"") + key + "\">" + value + "</data>"; };
  for (size_t i = 0; i < index.names.size(); ++i) {
    if (!chosen.nodes[i]) continue;
    const CircuitPlace p = circuit_place(index.names[i]);
    out += "    <node id=\"n" + std::to_string(i) + "\">" + data("n_label", escape(index.names[i])) + data("n_kind", kind_name(p.kind));
    if (p.layer >= 0) out += data("n_layer", std::to_string(p.layer));
    if (p.head >= 0) out += data("n_head", std::to_string(p.head));
    if (!std::isnan(chosen.scores[i])) out += data("n_score", plain_number(chosen.scores[i]));
    if (const auto it = chosen.group.find(index.names[i]); it != chosen.group.end()) out += data("n_group", escape(c.groups[it->second].name));
    out += "</node>\n";
  }
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (!chosen.edges[e]) continue;
    out += "    <edge id=\"e" + std::to_string(e) + "\" source=\"n" + std::to_string(index.from[e]) + "\" target=\"n" + std::to_string(index.to[e]) + "\">";
    if (!index.ports[e].empty()) out += data("e_port", escape(index.ports[e]));
    if (!std::isnan(c.edges[e].score)) out += data("e_score", plain_number(c.edges[e].score));
    out += data("e_in_graph", index.belongs[e] ? "true" : "false") + "</edge>\n";
  }
  return out + "  </graph>\n</graphml>\n";
}

std::string circuit_csv(const Circuit& c) {
  const CircuitIndex index(c);
  Table table;
  table.columns = {{"from", "", ""}, {"to", "", ""}, {"port", "", ""}, {"score", "", ""}, {"in_graph", "", ""}};
  table.rows.reserve(c.edges.size());
  for (size_t e = 0; e < c.edges.size(); ++e) {
    table.rows.push_back({c.edges[e].from, std::string(index.names[static_cast<size_t>(index.to[e])]), std::string(index.ports[e]), c.edges[e].score,
                          std::string(index.belongs[e] ? "true" : "false")});
  }
  return table_to_csv(table);
}

}  // namespace microtome::report
