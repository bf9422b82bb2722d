// influence.h — how much each node of an attribution graph bears on the logits, the two scores of a graph, and pruning: the
// definitions of circuit-tracer (graph.py: compute_node_influence, compute_edge_influence, compute_graph_scores, prune_graph),
// computed row by row. With N the rows' absolute values over their sums, influence is w (N + N² + …), w the logits'
// probabilities; since edges go upwards only, one pass over the rows from the top layer down gives the whole series.
#pragma once

#include <cstdint>
#include <vector>

#include "analysis/feature_circuit/row_store.h"

namespace microtome::feature_circuit {

struct Influence {
  std::vector<double> nodes;                 // a node; the logits' own weights are not in it
  std::vector<double> non_error;             // a node with a row: 1 - share of its row that comes from errors; others 1
};
// kept: nodes whose rows and columns count (others are as if zero); empty: all. logit_p: a logit.
Influence influence(const RowStore& rows, const std::vector<double>& logit_p, const std::vector<char>& kept = {});

struct GraphScores {
  double replacement = 0;                    // token influence / (token + error influence)
  double completeness = 0;                   // influence-weighted share of what nodes receive that comes from no error
  double error_share = 0;                    // error influence / that of all nodes
};
GraphScores graph_scores(const NodeIndex& nodes, const Influence& all, const std::vector<double>& logit_p);

// The smallest score such that those at least as large add up to `share` of all (searchsorted on the descending cumulative sum).
double share_threshold(std::vector<double> scores, double share);

struct PruneOptions {
  double node_share = 0.8, edge_share = 0.98;
  int64_t most_nodes = 0, most_edges = 0;    // features and errors, edges that are kept beyond the shares; 0: no further limit
};
struct KeptEdge {
  int64_t from = 0, to = 0;
  float weight = 0;
  double score = 0;                          // influence that flows along it, in the graph of the kept nodes
};
struct Pruned {
  std::vector<char> nodes;                   // kept
  std::vector<double> cumulative;            // a node: share of all influence that nodes at least as influential have
  std::vector<KeptEdge> edges;               // of kept nodes, strongest first
  bool nodes_limited = false, edges_limited = false;
};
// selected: as `kept` of influence(): features that have a row, errors, tokens, logits.
Pruned prune(const RowStore& rows, const Influence& all, const std::vector<double>& logit_p, const std::vector<char>& selected,
             const PruneOptions& options);

}  // namespace microtome::feature_circuit
