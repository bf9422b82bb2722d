// graph_of_attribution.h — an attribution graph, cut to some nodes, as a graph to draw; and what its parts are called.
#pragma once

#include <QString>
#include <map>
#include <utility>
#include <vector>

#include "app/desktop/views/graph_view.h"
#include "core/base/attribution_graph.h"

namespace microtome::desktop {

// What is known of a feature beside the graph: a person's label, the tokens it fires on.
struct FeatureNote {
  QString label;
  QStringList tokens;
};
using FeatureNotes = std::map<std::pair<int64_t, int64_t>, FeatureNote>;   // layer and index

// The nodes that are drawn and where they came from.
struct AttributionPicture {
  GraphData data;
  std::vector<int> nodes;              // of the picture → of the graph
  std::vector<int> edges;              // of the picture → of the graph
  std::vector<int> shown;              // of the graph → of the picture, -1: not drawn
};

// nodes: one flag a node of the graph. All edges that join them are in the picture, shown by the flags `edges` (level 1 or 0, the
// threshold is 0.5).
AttributionPicture pictureOf(const AttributionGraph& graph, const std::vector<char>& nodes, const std::vector<char>& edges,
                             const std::vector<LayerKind>& layers, const FeatureNotes& notes);

// Unique within a graph and the same in a later run of it: "L3 feature 1234 at 5", "token 5 “·the”", "logit “·Paris”".
QString attributionName(const AttributionGraph& graph, int node);
// The token at a position; "" beyond the text.
QString attributionToken(const AttributionGraph& graph, int64_t position);

}  // namespace microtome::desktop
