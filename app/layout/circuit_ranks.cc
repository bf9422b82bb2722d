#include "app/layout/circuit_ranks.h"

#include <algorithm>

namespace microtome::layout {

std::vector<int> circuit_ranks(const std::vector<CircuitPlace>& nodes, const std::vector<std::pair<int, int>>& edges) {
  using Kind = CircuitPlace::Kind;
  std::vector<int> ranks(nodes.size(), 0);
  bool unknown = false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].layer >= 0) ranks[i] = nodes[i].stage();
    unknown = unknown || nodes[i].kind == Kind::kUnknown;
  }
  // Passes are bounded, as names may go in a circle.
  for (int pass = 0; unknown && pass < 64; ++pass) {
    bool moved = false;
    for (const auto& [a, b] : edges) {
      const size_t from = static_cast<size_t>(a), to = static_cast<size_t>(b);
      if (nodes[to].kind != Kind::kUnknown || nodes[from].kind == Kind::kLogits || from == to || ranks[to] > ranks[from]) continue;
      ranks[to] = ranks[from] + 1;
      moved = true;
    }
    if (!moved) break;
  }
  int last = 0;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].kind != Kind::kLogits) last = std::max(last, ranks[i]);
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].kind == Kind::kLogits) ranks[i] = last + 1;
  return ranks;
}

}  // namespace microtome::layout
