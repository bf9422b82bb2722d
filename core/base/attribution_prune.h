// attribution_prune.h — which nodes and edges of an attribution graph are kept for given shares of influence: live, on a graph
// that is stored whole. The rule of the program circuit-tracer (see attribution_graph.h). Free of LibTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/attribution_graph.h"

namespace microtome {

// One flag a node and one an edge of the graph.
struct AttributionCut {
  std::vector<char> nodes, edges;
  int64_t node_count = 0, edge_count = 0;
};

// Reads the graph once; at() may be asked often. The graph outlives it. Immutable after construction.
// A stored graph is what a run kept with its own thresholds: shares are of all influence, those thresholds included, so that
// asking for them (or for more) gives the graph as it is stored.
// Nodes: the fewest features, errors and tokens, by their stored influence, that sum to node_share; tokens and logits are kept
// always. Edges between kept nodes by |weight| over all that reaches the target times the target's influence, the fewest that
// sum to edge_share. Then, until nothing changes, features and errors that lead nowhere go, and features that nothing reaches.
class AttributionPruner {
 public:
  explicit AttributionPruner(const AttributionGraph& graph);
  AttributionCut at(double node_share, double edge_share) const;
  // Influence of nodes on the logits in the part of the graph whose edges join `nodes`: a logit has its probability, every other
  // node the sum over its edges of their share of what reaches the target, times the target's. edge: where not null, the same of
  // each edge.
  std::vector<double> influence(const std::vector<char>& nodes, std::vector<double>* edge) const;

 private:
  const AttributionGraph& graph_;
  std::vector<int64_t> by_influence_;  // features, errors and tokens, strongest first
  std::vector<int64_t> edges_down_;    // edges by their target, highest first
  double total_ = 0;                   // influence of all nodes, those that the run did not keep included
};

}  // namespace microtome
