// attribution_svg.h — an attribution graph as SVG and in the forms of other programs: positions of the prompt from left to right,
// layers upward, tokens at the bottom and logits on top. Pure; every text is escaped.
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::report {

struct AttributionPicture {
  std::string svg;      // empty where the graph has no nodes
  std::string caption;  // plain text, not escaped: what is drawn and what is left out
};

struct AttributionLook {
  bool standalone = false;            // a file of its own: name space and style sheet inside
  size_t most_nodes = 60, most_edges = 220;
};
// A node's area says its influence, an edge's width |weight| as a share of what its target receives, its colour the sign.
AttributionPicture attribution_svg(const AttributionGraph& graph, const AttributionLook& look);
// The rules that the pictures use, for a page's style sheet.
std::string attribution_style();

// "feature 153 of layer 2 at position 7", "token “ the”", as tables and hover texts name nodes.
std::string attribution_name(const AttributionGraph& graph, int64_t node);
// Nodes by influence (logits left out) and edges by |weight| as a share of what their targets receive, strongest first.
std::vector<int64_t> nodes_by_influence(const AttributionGraph& graph);
std::vector<int64_t> edges_by_share(const AttributionGraph& graph);
// A share an edge: |weight| over the sum of |weight| into its target.
std::vector<double> incoming_shares(const AttributionGraph& graph);

std::string attribution_dot(const AttributionGraph& graph);
std::string attribution_graphml(const AttributionGraph& graph);
// source,target,weight,share with the nodes' names in the form LAYER_FEATURE_POSITION.
std::string attribution_csv(const AttributionGraph& graph);

// The graph's place in a page: figures, picture, tables; the same in Markdown without the picture.
std::string attribution_html(const AttributionGraph& graph);
Table attribution_node_table(const AttributionGraph& graph, size_t most);
Table attribution_edge_table(const AttributionGraph& graph, size_t most);
std::string attribution_words(const AttributionGraph& graph);   // how large, both scores; plain text

}  // namespace microtome::report
