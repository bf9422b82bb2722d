#include "core/base/circuit_ops.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <set>

#include "core/base/rng.h"
#include "core/base/status.h"

namespace microtome {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// input → a0.h0, a0.h1; a0.h0 → m0 → a1.h0 → logits; a0.h1 → a1.h1 (leads nowhere); m1 → logits (comes from nowhere).
Circuit sample() {
  Circuit c;
  c.name = "c";
  c.n_layers = 2;
  c.n_heads = 2;
  for (const char* n : {"input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1", "logits"}) c.nodes.push_back({n, true, 0});
  c.edges = {{"input", "a0.h0<q>", true, 0.5}, {"input", "a0.h1<v>", true, -0.4}, {"a0.h0", "m0", true, -0.9},
             {"m0", "a1.h0<k>", true, 0.3},    {"a1.h0", "logits", true, 0.3},    {"a0.h1", "a1.h1<q>", true, 0.2},
             {"m1", "logits", true, 0.1},      {"input", "logits", false, kNaN}};
  return c;
}

std::set<std::string> in(const Circuit& c) {
  std::set<std::string> out;
  for (const auto& e : c.edges)
    if (e.in_graph) out.insert(e.from + "->" + e.to);
  return out;
}
bool node_in(const Circuit& c, const std::string& name) {
  for (const auto& n : c.nodes)
    if (n.name == name) return n.in_graph;
  ADD_FAILURE() << name;
  return false;
}
using Set = std::set<std::string>;

TEST(CircuitNames, SayWhereANodeStands) {
  using Kind = CircuitPlace::Kind;
  EXPECT_EQ(circuit_place("input").kind, Kind::kInput);
  EXPECT_EQ(circuit_place("a12.h3").head, 3);
  EXPECT_EQ(circuit_place("a12.h3").layer, 12);
  EXPECT_EQ(circuit_place("a12").kind, Kind::kMixer);
  EXPECT_EQ(circuit_place("m0").kind, Kind::kMlp);
  for (const char* bad : {"", "a", "m", "a1.h", "a1.h2x", "m-1", "a01.h0", "m99999999999999999999", "Input", "a1h2", "m1.h1", "a1.h0<q>"})
    EXPECT_EQ(circuit_place(bad).kind, Kind::kUnknown) << bad;
  const char* order[] = {"input", "a0.h3", "m0", "a1", "m1", "a2.h0", "logits"};
  for (size_t i = 1; i < std::size(order); ++i) EXPECT_LT(circuit_place(order[i - 1]).stage(), circuit_place(order[i]).stage());
  EXPECT_EQ(split_port("a1.h0<q_conv>").second, "q_conv");
  EXPECT_EQ(split_port("m2").first, "m2");
  EXPECT_EQ(split_port("<q>").first, "<q>");
}

TEST(CircuitOps, TopKeepsTheStrongestAndTiesGoByOrder) {
  EXPECT_EQ(in(top_edges(sample(), 2)), (Set{"a0.h0->m0", "input->a0.h0<q>"}));
  EXPECT_EQ(in(top_edges(sample(), 4)), (Set{"a0.h0->m0", "input->a0.h0<q>", "input->a0.h1<v>", "m0->a1.h0<k>"}));
  EXPECT_EQ(in(top_edges(sample(), 2, {RankBy::kScore, false})), (Set{"input->a0.h0<q>", "m0->a1.h0<k>"}));
  EXPECT_EQ(in(top_edges(sample(), 1000)).size(), 7u);           // never one without a score
  EXPECT_TRUE(in(top_edges(sample(), 0)).empty());
  const Circuit one = top_edges(sample(), 1);
  EXPECT_TRUE(node_in(one, "a0.h0") && node_in(one, "m0"));
  EXPECT_FALSE(node_in(one, "input") || node_in(one, "logits"));
  EXPECT_EQ(one.edges.size(), 8u);                               // the scores of the others are kept
  Circuit less = sample();
  less.edges[2].in_graph = false;
  EXPECT_EQ(in(top_edges(less, 1, {RankBy::kMagnitude, true})), Set{"input->a0.h0<q>"});
  EXPECT_EQ(in(top_edges(less, 1)), Set{"a0.h0->m0"});
}

TEST(CircuitOps, ThresholdIncludesItsValue) {
  EXPECT_EQ(in(threshold_edges(sample(), 0.4)), (Set{"a0.h0->m0", "input->a0.h0<q>", "input->a0.h1<v>"}));
  EXPECT_EQ(in(threshold_edges(sample(), 0.3, {RankBy::kScore, false})), (Set{"input->a0.h0<q>", "m0->a1.h0<k>", "a1.h0->logits"}));
  EXPECT_EQ(in(threshold_edges(sample(), 0)).size(), 7u);
}

TEST(CircuitOps, PruningLeavesWaysFromInputToLogits) {
  const PrunedCircuit p = prune_dead_ends(sample());
  EXPECT_EQ(in(p.circuit), (Set{"input->a0.h0<q>", "a0.h0->m0", "m0->a1.h0<k>", "a1.h0->logits"}));
  EXPECT_EQ(p.edges, 3);
  EXPECT_EQ(p.nodes, 3);                                         // a0.h1, a1.h1, m1
  EXPECT_FALSE(node_in(p.circuit, "a1.h1"));
  EXPECT_EQ(prune_dead_ends(p.circuit).edges, 0);
  Circuit cut = sample();
  cut.edges[3].in_graph = false;                                 // the only way
  EXPECT_TRUE(in(prune_dead_ends(cut).circuit).empty());
  cut = sample();
  cut.nodes[3].in_graph = false;                                 // m0 is out, and so are its edges
  EXPECT_TRUE(in(prune_dead_ends(cut).circuit).empty());
}

// Against the definition, applied until nothing changes.
TEST(CircuitOps, PruningAgreesWithTheIteratedDefinition) {
  Rng rng(3);
  for (int round = 0; round < 60; ++round) {
    Circuit c;
    std::vector<std::string> order = {"input"};
    for (int l = 0; l < 4; ++l) {
      for (int h = 0; h < 3; ++h) order.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
      order.push_back("m" + std::to_string(l));
    }
    order.push_back("logits");
    for (const auto& n : order) c.nodes.push_back({n, true, 0});
    for (size_t a = 0; a < order.size(); ++a)
      for (size_t b = a + 1; b < order.size(); ++b)
        if (circuit_place(order[a]).stage() < circuit_place(order[b]).stage()) c.edges.push_back({order[a], order[b], rng.below(5) == 0, 1});
    Circuit slow = c;
    for (bool changed = true; changed;) {
      changed = false;
      for (auto& e : slow.edges) {
        bool fed = e.from == "input", read = e.to == "logits";
        for (const auto& o : slow.edges) {
          fed = fed || (o.in_graph && o.to == e.from);
          read = read || (o.in_graph && o.from == e.to);
        }
        if (e.in_graph && !(fed && read)) e.in_graph = false, changed = true;
      }
    }
    EXPECT_EQ(in(prune_dead_ends(c).circuit), in(slow)) << round;
  }
}

TEST(CircuitOps, SetOperations) {
  const Circuit a = top_edges(sample(), 3);
  Circuit b = threshold_edges(sample(), 0.25, {RankBy::kScore, false});
  b.edges.push_back({"m0", "logits", true, 0.7});
  const Set in_a = in(a), in_b = in(b);
  Set all = in_a, both, only;
  all.insert(in_b.begin(), in_b.end());
  for (const auto& e : in_a) (in_b.count(e) ? both : only).insert(e);
  ASSERT_FALSE(both.empty());
  ASSERT_FALSE(only.empty());
  EXPECT_EQ(in(unite(a, b)), all);
  EXPECT_EQ(in(unite(b, a)), all);
  EXPECT_EQ(in(intersect(a, b)), both);
  EXPECT_EQ(in(subtract(a, b)), only);
  EXPECT_EQ(in(subtract(a, a)), Set{});
  EXPECT_EQ(unite(a, b).edges.back().score, 0.7);
  const CircuitOverlap o = compare_circuits(a, b);
  EXPECT_EQ(o.edges.a, static_cast<int64_t>(in_a.size()));
  EXPECT_EQ(o.edges.both, static_cast<int64_t>(both.size()));
  EXPECT_DOUBLE_EQ(o.edges.jaccard(), static_cast<double>(both.size()) / static_cast<double>(all.size()));
  EXPECT_TRUE(std::isnan(compare_circuits({}, {}).edges.jaccard()));
  Circuit other = b;
  other.n_layers = 3;
  EXPECT_THROW(unite(a, other), Error);
  other.n_layers = 0;                                            // not said
  EXPECT_EQ(in(unite(a, other)), all);
}

TEST(CircuitOps, AScoreThatIsMissingComesFromTheOther) {
  Circuit a = sample(), b = sample();
  a.edges[0].score = kNaN;
  b.edges[0].score = 0.25;
  b.edges[1].score = 9;
  const Circuit u = unite(a, b);
  EXPECT_EQ(u.edges[0].score, 0.25);
  EXPECT_EQ(u.edges[1].score, -0.4);
}

TEST(CircuitOps, ANodeIsInOneGroup) {
  Circuit c = set_group(sample(), "movers", {"a1.h0", "a1.h1", "a1.h0"});
  c = set_group(c, "early", {"a0.h0", "a1.h1"});
  ASSERT_EQ(c.groups.size(), 2u);
  EXPECT_EQ(c.groups[0].nodes, std::vector<std::string>{"a1.h0"});
  EXPECT_EQ(c.groups[1].nodes, (std::vector<std::string>{"a0.h0", "a1.h1"}));
  c = set_group(c, "", {"a1.h0"});
  ASSERT_EQ(c.groups.size(), 1u);
  EXPECT_EQ(c.groups[0].name, "early");
  EXPECT_THROW(set_group(c, "x", {"a9.h0"}), Error);
  // A union joins groups of one name; the first circuit's word on a node holds.
  const Circuit d = set_group(set_group(sample(), "late", {"a0.h0"}), "early", {"m0"});
  const Circuit u = unite(c, d);
  ASSERT_EQ(u.groups.size(), 1u);
  EXPECT_EQ(u.groups[0].nodes, (std::vector<std::string>{"a0.h0", "a1.h1", "m0"}));
}

TEST(CircuitOps, Counts) {
  const CircuitCounts n = count_circuit(sample());
  EXPECT_EQ(n.edges, 7);
  EXPECT_EQ(n.all_edges, 8);
  EXPECT_EQ(n.nodes, 8);
  EXPECT_EQ(n.heads, 4);
  EXPECT_EQ(n.mlps, 2);
  EXPECT_EQ(n.ports.at("q"), 2);
  EXPECT_EQ(n.ports.at(""), 3);
  EXPECT_EQ(count_circuit({}).edges, 0);
}

TEST(CircuitOps, ThreeHundredThousandEdgesInATwinkling) {
  Circuit c;
  Rng rng(1);
  std::vector<std::string> sources = {"input"};
  for (int l = 0; l < 24; ++l) {
    std::vector<std::string> heads;
    for (int h = 0; h < 16; ++h) {
      heads.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
      for (const char* port : {"<q>", "<k>", "<v>"})
        for (const auto& s : sources) c.edges.push_back({s, heads.back() + port, true, rng.normal()});
    }
    sources.insert(sources.end(), heads.begin(), heads.end());
    for (const auto& s : sources) c.edges.push_back({s, "m" + std::to_string(l), true, rng.normal()});
    sources.push_back("m" + std::to_string(l));
  }
  for (const auto& s : sources) {
    c.nodes.push_back({s, true, 0});
    c.edges.push_back({s, "logits", true, rng.normal()});
  }
  c.nodes.push_back({"logits", true, 0});
  ASSERT_GT(c.edges.size(), 200'000u);
  const auto start = std::chrono::steady_clock::now();
  const Circuit top = top_edges(c, 2000);
  const auto then = std::chrono::steady_clock::now();
  const PrunedCircuit pruned = prune_dead_ends(top);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%zu edges: top %.0f ms, with pruning %.0f ms\n", c.edges.size(), 1e3 * std::chrono::duration<double>(then - start).count(), 1e3 * seconds);
  EXPECT_EQ(count_circuit(top).edges, 2000);
  EXPECT_EQ(count_circuit(pruned.circuit).edges + pruned.edges, 2000);
  EXPECT_LT(seconds, 5);                                         // a busy machine, a build without optimisation
}

}  // namespace
}  // namespace microtome
