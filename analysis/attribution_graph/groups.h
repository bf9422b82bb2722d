// groups.h — supernodes of an attribution graph: features that mean the same, by what they write, by the token they raise most,
// or as a person has grouped them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/attribution_graph.h"

namespace microtome::analyses {

// writes: a node's direction, undefined for all but features. Features join the group of the most influential feature that
// has at least this cosine with them; groups of two and more are kept, named after the token most of them raise.
std::vector<AttributionGraph::Supernode> groups_by_direction(const AttributionGraph& graph, const std::vector<at::Tensor>& writes,
                                                             const std::vector<std::string>& top_tokens, double similarity);
// Features that raise the same token most.
std::vector<AttributionGraph::Supernode> groups_by_token(const AttributionGraph& graph, const std::vector<std::string>& top_tokens);
// JSON [["name", "LAYER_FEATURE_POSITION", …], …]. Nodes that the graph has not kept are left out. Throws Error(kBadInput).
std::vector<AttributionGraph::Supernode> groups_of_file(const std::string& path, const AttributionGraph& graph);

}  // namespace microtome::analyses
