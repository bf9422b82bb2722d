// Attribution graphs as tables, and in the forms of other programs.
#include <charconv>
#include <cmath>

#include "app/report/artifact_html.h"
#include "app/report/attribution_svg.h"
#include "app/report/html.h"
#include "core/io/attribution_file.h"
#include "core/store/result_json.h"

namespace microtome::report {
namespace {

using Kind = AttributionGraph::Kind;
constexpr size_t kRows = 30;

std::string dot_text(std::string_view text) {
  std::string out = "\"";
  for (char c : clean_utf8(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' || c == '\t' ? ' ' : c;
  }
  return out + "\"";
}

std::string plain(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "INF" : "-INF";
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

const char* kind_word(Kind k) {
  static constexpr const char* kWords[] = {"token", "feature", "error", "logit"};
  return kWords[static_cast<int>(k)];
}

}  // namespace

std::string attribution_words(const AttributionGraph& g) {
  int64_t kinds[4] = {0, 0, 0, 0};
  for (const auto& n : g.nodes) ++kinds[static_cast<int>(n.kind)];
  return count(kinds[1]) + " features, " + count(kinds[2]) + " errors, " + count(kinds[0]) + " tokens and " + count(kinds[3]) + " logits with " + count(static_cast<int64_t>(g.edges.size())) +
         " edges, kept at a node threshold of " + number(g.node_threshold) + " and an edge threshold of " + number(g.edge_threshold) + ". Replacement score " + number(g.replacement_score) +
         ", completeness score " + number(g.completeness_score) + ".";
}

Table attribution_node_table(const AttributionGraph& g, size_t most) {
  Table t;
  t.columns = {{"node", "", "LAYER_FEATURE_POSITION"}, {"what", "", ""}, {"label", "", ""}, {"activation", "", "of features"}, {"influence", "", "on the logits, over all paths"}};
  for (int64_t i : nodes_by_influence(g)) {
    if (t.rows.size() >= most) break;
    const auto& n = g.nodes[static_cast<size_t>(i)];
    t.rows.push_back({graph_node_id(g, n), attribution_name(g, i), n.label, n.kind == Kind::kFeature ? Cell{n.activation} : Cell{}, n.influence});
  }
  return t;
}

Table attribution_edge_table(const AttributionGraph& g, size_t most) {
  Table t;
  t.columns = {{"from", "", ""}, {"to", "", ""}, {"weight", "", "what it adds to the target's pre-activation or logit"}, {"share", "%", "of what the target receives in the kept graph"}};
  const std::vector<double> shares = incoming_shares(g);
  for (int64_t e : edges_by_share(g)) {
    if (t.rows.size() >= most) break;
    const auto& edge = g.edges[static_cast<size_t>(e)];
    t.rows.push_back({attribution_name(g, edge.from), attribution_name(g, edge.to), edge.weight, 100 * shares[static_cast<size_t>(e)]});
  }
  return t;
}

std::string attribution_html(const AttributionGraph& g) {
  const auto folded = [](const std::string& title, const std::string& body) { return "<details><summary>" + escape(title) + "</summary>" + body + "</details>"; };
  std::string out = "<p class=\"note\">" + escape(attribution_words(g)) + "</p>";
  const AttributionPicture picture = attribution_svg(g, {});
  if (!picture.svg.empty()) out += "<figure class=\"wide\"><figcaption>" + escape(picture.caption) + "</figcaption>" + picture.svg + "</figure>";
  if (!g.edges.empty()) out += "<h5>Strongest edges</h5>" + table_html(attribution_edge_table(g, kRows), nullptr);
  if (!g.nodes.empty()) out += folded("Nodes with most influence", table_html(attribution_node_table(g, 2 * kRows), nullptr));
  Table groups;
  groups.columns = {{"supernode", "", ""}, {"nodes", "", ""}};
  for (const auto& s : g.supernodes) {
    std::string all;
    for (size_t i = 0; i < std::min<size_t>(s.nodes.size(), 50); ++i) all += (i ? ", " : "") + graph_node_id(g, g.nodes[static_cast<size_t>(s.nodes[i])]);
    groups.rows.push_back({s.name, all + (s.nodes.size() > 50 ? ", …" : "")});
  }
  if (!groups.rows.empty()) out += folded("Supernodes", table_html(groups, nullptr));
  return out;
}

std::string attribution_dot(const AttributionGraph& g) {
  std::string out = "digraph " + dot_text(g.name.empty() ? "graph" : g.name) + " {\n  rankdir=BT; newrank=true;\n  node [fontname=\"Helvetica\", fontsize=10];\n  edge [arrowsize=0.5];\n";
  std::vector<int64_t> group(g.nodes.size(), -1);
  for (size_t s = 0; s < g.supernodes.size(); ++s)
    for (int64_t n : g.supernodes[s].nodes) group[static_cast<size_t>(n)] = static_cast<int64_t>(s);
  const auto node = [&](size_t i) {
    const auto& n = g.nodes[i];
    return "n" + std::to_string(i) + " [label=" + dot_text(n.label.empty() ? graph_node_id(g, n) : n.label) + ", shape=" + (n.kind == Kind::kFeature ? "ellipse" : n.kind == Kind::kError ? "diamond" : "box") +
           ", tooltip=" + dot_text(attribution_name(g, static_cast<int64_t>(i)) + ", influence " + plain(n.influence)) + "];\n";
  };
  for (size_t s = 0; s < g.supernodes.size(); ++s) {
    out += "  subgraph cluster_" + std::to_string(s) + " {\n    label=" + dot_text(g.supernodes[s].name) + "; style=rounded;\n";
    for (int64_t n : g.supernodes[s].nodes)
      if (group[static_cast<size_t>(n)] == static_cast<int64_t>(s)) out += "    " + node(static_cast<size_t>(n));
    out += "  }\n";
  }
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (group[i] < 0) out += "  " + node(i);
  const std::vector<double> shares = incoming_shares(g);
  for (size_t e = 0; e < g.edges.size(); ++e)
    out += "  n" + std::to_string(g.edges[e].from) + " -> n" + std::to_string(g.edges[e].to) + " [penwidth=" + coordinate(0.3 + 4 * shares[e]) + ", color=\"" + (g.edges[e].weight < 0 ? "#b2182b" : "#2166ac") +
           "\", tooltip=" + dot_text(plain(g.edges[e].weight)) + "];\n";
  return out + "}\n";
}

std::string attribution_graphml(const AttributionGraph& g) {
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n";
  for (const auto& [name, type] : {std::pair("label", "string"), {"kind", "string"}, {"layer", "int"}, {"position", "int"}, {"feature", "long"}, {"activation", "double"}, {"influence", "double"}})
    out += std::string("  <key id=\"n_") + name + "\" for=\"node\" attr.name=\"" + name + "\" attr.type=\"" + type + "\"/>\n";
  out += "  <key id=\"e_weight\" for=\"edge\" attr.name=\"weight\" attr.type=\"double\"/>\n  <graph id=\"attribution\" edgedefault=\"directed\">\n";
  const auto data = [](const char* key, const std::string& value) { return std::string("<data key=\"n_") + key + "\">" + value + "</data>"; };
  for (const auto& n : g.nodes)
    out += "    <node id=\"" + escape(graph_node_id(g, n)) + "\">" + data("label", escape(n.label)) + data("kind", kind_word(n.kind)) + data("layer", std::to_string(n.layer)) +
           data("position", std::to_string(n.position)) + data("feature", std::to_string(n.feature)) + data("activation", plain(n.activation)) + data("influence", plain(n.influence)) + "</node>\n";
  for (size_t e = 0; e < g.edges.size(); ++e)
    out += "    <edge id=\"e" + std::to_string(e) + "\" source=\"" + escape(graph_node_id(g, g.nodes[static_cast<size_t>(g.edges[e].from)])) + "\" target=\"" +
           escape(graph_node_id(g, g.nodes[static_cast<size_t>(g.edges[e].to)])) + "\"><data key=\"e_weight\">" + plain(g.edges[e].weight) + "</data></edge>\n";
  return out + "  </graph>\n</graphml>\n";
}

std::string attribution_csv(const AttributionGraph& g) {
  Table t;
  t.columns = {{"source", "", ""}, {"target", "", ""}, {"weight", "", ""}, {"share", "", ""}};
  const std::vector<double> shares = incoming_shares(g);
  for (size_t e = 0; e < g.edges.size(); ++e)
    t.rows.push_back({graph_node_id(g, g.nodes[static_cast<size_t>(g.edges[e].from)]), graph_node_id(g, g.nodes[static_cast<size_t>(g.edges[e].to)]), g.edges[e].weight, shares[e]});
  return table_to_csv(t);
}

}  // namespace microtome::report
