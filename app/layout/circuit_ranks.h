// circuit_ranks.h — which rank each node of a circuit stands on, lowest first: `input` 0, the token mixer of layer l 2l + 1,
// its MLP 2l + 2, `logits` above all. A name of no known form stands above all that leads to it.
#pragma once

#include <utility>
#include <vector>

#include "core/base/circuit_ops.h"

namespace microtome::layout {

// edges: pairs of indices into nodes; they may go in circles.
std::vector<int> circuit_ranks(const std::vector<CircuitPlace>& nodes, const std::vector<std::pair<int, int>>& edges);

}  // namespace microtome::layout
