// scores.h — edge scores over prompts: sums that groups add to, mean, standard error, and the same under bootstrap
// resamples of the prompts; which edges a size keeps.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/circuit/graph.h"

namespace microtome::circuit {

// How often each prompt is drawn in each resample: [resample, prompt] float32, rows sum to the number of prompts.
at::Tensor bootstrap_weights(int64_t resamples, int64_t prompts, uint64_t seed);

// Which edges a size keeps: the `count` best of the possible ones by |score| (or by score, largest first), ties by order;
// NaN never. [source, input] bool.
at::Tensor best_edges(const Graph& graph, const at::Tensor& scores, int64_t count, bool by_size);
// Without edges that lead nowhere or come from nowhere: from a node nothing reaches from the input, or into one that does
// not reach the logits. inside [source, input] bool → the same, smaller.
at::Tensor without_dead_ends(const Graph& graph, const at::Tensor& inside);
// inside without a node: none of its edges.
at::Tensor without_node(const Graph& graph, const at::Tensor& inside, int64_t source);
int64_t edges_of_share(const Graph& graph, double percent);   // at least 1
// Nodes with an edge inside, by name (logits left out).
std::vector<bool> nodes_inside(const Graph& graph, const at::Tensor& inside);

}  // namespace microtome::circuit
