// circuit_ops.h — names of a circuit's nodes, and what a person does with circuits: keep the strongest edges, cut dead ends,
// set operations, groups, counts. Pure functions: the same circuits give the same result, ties by the order of edges. A
// few hundred thousand edges take a fraction of a second.
//
// An edge belongs to the circuit when it is marked in_graph and neither end is a node given with in_graph = false. What
// these functions return marks a node as belonging when an edge that belongs begins or ends there, and keeps all edges with
// their scores, so that a weaker choice can be undone by another.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/artifact.h"

namespace microtome {

// "input", "a3.h1" (a head), "a3" (a token mixer as a whole), "m3", "logits"; anything else is kUnknown.
struct CircuitPlace {
  enum class Kind { kUnknown, kInput, kHead, kMixer, kMlp, kLogits };
  Kind kind = Kind::kUnknown;
  int layer = -1, head = -1;           // at most 100,000 and 1,000,000; -1 where the kind has none
  // Where it stands in the order of writing: an edge leads from a lower to a higher stage. -1 for kUnknown.
  int stage() const;
};
CircuitPlace circuit_place(std::string_view node);
// "a1.h0<q>" → "a1.h0", "q"; without a port: the whole text and "".
std::pair<std::string_view, std::string_view> split_port(std::string_view end);

// Edges by number of node. Holds views into the circuit, which must outlive it unchanged.
struct CircuitIndex {
  std::vector<std::string_view> names;     // nodes in the order given, then ends of edges that are listed nowhere
  std::vector<int> from, to;               // one an edge
  std::vector<std::string_view> ports;     // one an edge; "" where it has none
  std::vector<char> belongs;               // one an edge: see above
  explicit CircuitIndex(const Circuit& circuit);
};

enum class RankBy { kMagnitude, kScore };  // |score|, or the score with its sign
struct EdgeChoice {
  RankBy by = RankBy::kMagnitude;
  bool within = false;                     // choose only among edges that belong already
};
// The n best edges belong, no others. Edges without a score (NaN) are never chosen.
Circuit top_edges(Circuit circuit, int64_t n, const EdgeChoice& choice = {});
// Edges of at least `least` (by magnitude or score) belong, no others.
Circuit threshold_edges(Circuit circuit, double least, const EdgeChoice& choice = {});

struct PrunedCircuit {
  Circuit circuit;
  int64_t edges = 0, nodes = 0;            // how many no longer belong
};
// Only edges on a way from `input` to `logits` stay: the source can be reached from `input`, the destination reaches `logits`.
PrunedCircuit prune_dead_ends(Circuit circuit);

// Edges are the same when both ends are written the same. Union: all edges of both; a score is the first circuit's, or the
// second's where the first has none. Intersection and difference: the edges of the first. Groups: the first's, joined with
// the second's in a union; nodes that no longer belong leave their group. Throws Error(kBadInput) where both say how many
// layers or heads their model has and differ.
Circuit unite(const Circuit& a, const Circuit& b);
Circuit intersect(const Circuit& a, const Circuit& b);
Circuit subtract(const Circuit& a, const Circuit& b);

// The nodes leave the groups they were in and form (or join) the group `name`; an empty name only takes them out. Groups
// without nodes vanish. Throws Error(kBadInput) for a node that the circuit does not have.
Circuit set_group(Circuit circuit, const std::string& name, const std::vector<std::string>& nodes);

struct CircuitCounts {
  int64_t nodes = 0, edges = 0;            // that belong
  int64_t all_nodes = 0, all_edges = 0;
  int64_t heads = 0, mixers = 0, mlps = 0; // nodes that belong, by kind
  std::map<std::string, int64_t> ports;    // edges that belong by the port they enter; "" has none
};
CircuitCounts count_circuit(const Circuit& circuit);

struct Overlap {
  int64_t a = 0, b = 0, both = 0;
  double jaccard() const;                  // both / (a + b - both); NaN where nothing belongs to either
};
struct CircuitOverlap {
  Overlap edges, nodes, heads;
};
CircuitOverlap compare_circuits(const Circuit& a, const Circuit& b);

// Numbers of the edges that belong, strongest |score| first, those without a score last; ties by order.
std::vector<size_t> edges_by_strength(const Circuit& circuit, const CircuitIndex& index);

}  // namespace microtome
