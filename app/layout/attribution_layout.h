// attribution_layout.h — where the nodes of an attribution graph stand: tokens below, a stripe a layer, logits above; across by
// the token's position, so that a column of the picture is a place of the text. Pure functions.
#pragma once

#include <vector>

#include "app/layout/graph_layout.h"
#include "core/base/attribution_graph.h"

namespace microtome::layout {

struct AttributionPlacement {
  std::vector<Point> centres;          // one a node of the graph; (0, 0) for those that are not shown
  std::vector<int> ranks;              // 0 tokens, l + 1 the layer l, layers + 1 logits
  std::vector<RankRow> rows;           // of the ranks that hold shown nodes, lowest first
};

// shown: one flag a node. half: half width and height a node is drawn with, one a node. Nodes of one layer and position stand
// side by side, the most influential first, and go on in further rows where they are many.
AttributionPlacement place_attribution(const AttributionGraph& graph, const std::vector<char>& shown, const std::vector<Point>& half);

}  // namespace microtome::layout
