// A circuit in the page: picture, curves, tables.
#include <algorithm>
#include <cmath>

#include "app/report/artifact_html.h"
#include "app/report/circuit_svg.h"
#include "app/report/html.h"
#include "app/report/svg_chart.h"
#include "core/base/circuit_ops.h"

namespace microtome::report {
namespace {

constexpr size_t kTopEdges = 18;         // what a table shows without scrolling

Table edge_table(const Circuit& c, const CircuitIndex& index, const std::vector<size_t>& edges, size_t first, size_t last) {
  Table t;
  t.columns = {{"from", "", "source node"}, {"to", "", "destination node"}, {"input", "", "which input of the destination it enters"}, {"score", "", "the edge's score"}};
  for (size_t k = first; k < std::min(last, edges.size()); ++k) {
    const size_t e = edges[k];
    t.rows.push_back({c.edges[e].from, std::string(index.names[static_cast<size_t>(index.to[e])]), std::string(index.ports[e]), c.edges[e].score});
  }
  return t;
}

std::string folded(const std::string& title, const std::string& body) { return "<details><summary>" + escape(title) + "</summary>" + body + "</details>"; }

}  // namespace

bool is_faithfulness(const Artifact& artifact) {
  const auto* s = std::get_if<Series>(&artifact);
  return s && s->name.rfind("faithfulness", 0) == 0;
}

std::string circuit_html(const Circuit& c, const ModelFacts* model, const std::vector<const Series*>& curves) {
  const CircuitCounts n = count_circuit(c);
  std::string out = "<p class=\"note\">" + count(n.edges) + " of " + count(n.all_edges) + " edges and " + count(n.nodes) + " of " + count(n.all_nodes) +
                    " nodes belong to the circuit, in a model of " + count(c.n_layers) + " layers with " + count(c.n_heads) + " heads each.</p>";
  CircuitLook look;
  look.model = model;
  const CircuitPicture picture = circuit_svg(c, look);
  out += "<div class=\"panels\">";
  if (!picture.svg.empty()) out += "<figure><figcaption>" + escape(picture.caption) + "</figcaption>" + picture.svg + "</figure>";
  for (const Series* s : curves) {
    out += "<figure><figcaption><b>" + escape(shorten(s->title.empty() ? s->name : s->title, 120)) + "</b></figcaption>" + line_chart(*s, x_range(*s), y_range(*s), true) + "</figure>";
  }
  out += "</div>";
  const CircuitIndex index(c);
  const std::vector<size_t> edges = edges_by_strength(c, index);
  if (!edges.empty()) {
    out += "<h5>" + std::string(edges.size() > kTopEdges ? "Strongest edges" : "Edges by strength") + "</h5>" + table_html(edge_table(c, index, edges, 0, kTopEdges), nullptr);
    if (edges.size() > kTopEdges) out += folded("The next " + count(static_cast<int64_t>(edges.size() - kTopEdges)) + " edges", table_html(edge_table(c, index, edges, kTopEdges, edges.size()), nullptr));
  }
  Table nodes;
  nodes.columns = {{"node", "", "a{layer}.h{head}: a head; a{layer}: a token mixer; m{layer}: an MLP"}, {"score", "", "the node's score"}};
  for (const auto& node : c.nodes)
    if (node.in_graph) nodes.rows.push_back({node.name, node.score});
  if (!nodes.rows.empty()) out += folded("Nodes", table_html(nodes, nullptr));
  Table groups;
  groups.columns = {{"group", "", ""}, {"nodes", "", ""}};
  for (const auto& g : c.groups) {
    std::string all;
    for (size_t i = 0; i < std::min<size_t>(g.nodes.size(), 100); ++i) all += (i ? ", " : "") + g.nodes[i];
    groups.rows.push_back({g.name, all + (g.nodes.size() > 100 ? ", \xE2\x80\xA6" : "")});
  }
  if (!groups.rows.empty()) out += folded("Groups", table_html(groups, nullptr));
  return out;
}

}  // namespace microtome::report
