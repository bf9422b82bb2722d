// edge_order.h — the edges of a circuit by strength, and from which number of edges on each of them lies on a path: what a slider over
// "the n strongest edges, dead ends left out" needs. Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::desktop {

// "a1.h0<q>" → "a1.h0", "q"; without a port the second is empty.
std::pair<std::string, std::string> endOf(const std::string& end);
// "a0.h1->a3.h2<q>": how an edge is named in files and in the selection.
std::string edgeName(const Circuit::Edge& edge);

struct NodePlaceName {
  enum class Kind { kOther, kHead, kMlp } kind = Kind::kOther;
  int layer = -1, head = -1;
};
// Of "a3.h1" and "m2"; of all else kOther.
NodePlaceName placeOfNode(const std::string& name);

// How many edges of a circuit are kept. count 0: those that the analysis itself kept.
struct EdgeChoice {
  int64_t count = 0;
  bool operator==(const EdgeChoice&) const = default;
};

class EdgeOrder {
 public:
  // circuit must not change. Edges without a score come last; equal ones in the circuit's own order.
  explicit EdgeOrder(std::shared_ptr<const Circuit> circuit);
  const Circuit& circuit() const { return *circuit_; }
  int64_t total() const { return static_cast<int64_t>(circuit_->edges.size()); }
  // Edges with in_graph, and whether there are some but not all: else there is nothing that the analysis chose.
  int64_t found() const { return found_; }
  bool hasFound() const { return found_ > 0 && found_ < total(); }

  // Of an edge: the smallest n for which it is among the n strongest and on a path of these from the input to the logits; 0: none.
  // Where no node is named "input", paths begin where no edge leads to; they end at "logits", or where no edge begins.
  const std::vector<int64_t>& entry() const { return entry_; }
  bool holds(size_t edge, const EdgeChoice& choice) const {
    if (choice.count == 0) return circuit_->edges[edge].in_graph;
    return entry_[edge] > 0 && entry_[edge] <= choice.count;
  }
  int64_t edges(const EdgeChoice& choice) const;       // that remain
  // The smallest number of strongest edges of which at least `remaining` remain (of fewer: all that ever do); 0: none ever do.
  int64_t countFor(int64_t remaining) const;
  std::vector<char> nodes(const EdgeChoice& choice) const;   // one a nodeNames(): has an edge that remains
  const std::vector<std::string>& nodeNames() const { return names_; }
  int from(size_t edge) const { return ends_[edge].first; }  // into nodeNames()
  int to(size_t edge) const { return ends_[edge].second; }

  // What a GraphView compares with threshold(): it then shows what the choice holds.
  std::vector<double> levels(bool asFound) const;
  double threshold(const EdgeChoice& choice) const;
  // Only what remains, all of it in_graph: what is measured.
  Circuit chosen(const EdgeChoice& choice) const;

 private:
  std::shared_ptr<const Circuit> circuit_;
  std::vector<std::string> names_;
  std::vector<std::pair<int, int>> ends_;
  std::vector<int64_t> entry_, sorted_;                // sorted_: entries that are not 0, ascending
  int64_t found_ = 0;
};

// Two circuits edge by edge and node by node, by name.
struct CircuitPair {
  CircuitPair(std::shared_ptr<const EdgeOrder> left, std::shared_ptr<const EdgeOrder> right);
  struct Overlap {
    std::vector<char> edges[2], nodes[2];              // on either side: also in the other circuit, as chosen
    int64_t sharedEdges = 0, unionEdges = 0, sharedHeads = 0, unionHeads = 0;
    double edgeJaccard() const { return unionEdges > 0 ? static_cast<double>(sharedEdges) / static_cast<double>(unionEdges) : 0; }
    double headJaccard() const { return unionHeads > 0 ? static_cast<double>(sharedHeads) / static_cast<double>(unionHeads) : 0; }
  };
  Overlap overlap(const EdgeChoice& left, const EdgeChoice& right) const;
  std::shared_ptr<const EdgeOrder> sides[2];

 private:
  std::vector<int> edge_, node_;                       // of the left one's: the right one's number, −1: none
};

}  // namespace microtome::desktop
