#include "core/base/circuit_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "core/base/quote.h"
#include "core/base/status.h"

namespace microtome {
namespace {

constexpr int kMostLayers = 100'000, kMostHeads = 1'000'000;

// Digits at the front of text, which moves behind them; leading zeros are another spelling and so no number.
std::optional<int> take_number(std::string_view& text, int most) {
  int64_t value = 0;
  size_t n = 0;
  for (; n < text.size() && text[n] >= '0' && text[n] <= '9'; ++n) {
    value = value * 10 + (text[n] - '0');
    if (value > most || (n == 1 && text[0] == '0')) return std::nullopt;
  }
  if (n == 0) return std::nullopt;
  text.remove_prefix(n);
  return static_cast<int>(value);
}

double rank_of(double score, RankBy by) { return by == RankBy::kMagnitude ? std::fabs(score) : score; }

// Nodes belong when an edge that belongs touches them. Both marks are consistent afterwards.
void mark(Circuit& c, const CircuitIndex& index, const std::vector<char>& belongs) {
  std::vector<char> touched(index.names.size(), 0);
  for (size_t e = 0; e < c.edges.size(); ++e) {
    c.edges[e].in_graph = belongs[e] != 0;
    if (belongs[e]) touched[static_cast<size_t>(index.from[e])] = touched[static_cast<size_t>(index.to[e])] = 1;
  }
  // A node listed twice is known by its first entry.
  std::unordered_map<std::string_view, size_t> first;
  for (size_t i = 0; i < index.names.size(); ++i) first.emplace(index.names[i], i);
  for (Circuit::Node& n : c.nodes) n.in_graph = touched[first.at(n.name)] != 0;
}

void choose(Circuit& c, const EdgeChoice& choice, const CircuitIndex& index, std::vector<size_t>& edges) {
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (!std::isnan(c.edges[e].score) && (!choice.within || index.belongs[e])) edges.push_back(e);
  }
}

// Which nodes can be reached from `start` along edges that belong, from source to destination or the other way.
std::vector<char> reachable(const CircuitIndex& index, std::string_view start, bool forward) {
  const std::vector<int>& tail = forward ? index.from : index.to;
  const std::vector<int>& head = forward ? index.to : index.from;
  std::vector<size_t> begin(index.names.size() + 1, 0);
  for (size_t e = 0; e < tail.size(); ++e) begin[static_cast<size_t>(tail[e]) + 1] += index.belongs[e] ? 1 : 0;
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<int> next(begin.back());
  std::vector<size_t> at(begin.begin(), begin.end() - 1);
  for (size_t e = 0; e < tail.size(); ++e) {
    if (index.belongs[e]) next[at[static_cast<size_t>(tail[e])]++] = head[e];
  }
  std::vector<char> seen(index.names.size(), 0);
  std::vector<int> open;
  const auto it = std::find(index.names.begin(), index.names.end(), start);
  if (it == index.names.end()) return seen;
  open.push_back(static_cast<int>(it - index.names.begin()));
  seen[static_cast<size_t>(open.back())] = 1;
  while (!open.empty()) {
    const size_t node = static_cast<size_t>(open.back());
    open.pop_back();
    for (size_t k = begin[node]; k < begin[node + 1]; ++k) {
      char& known = seen[static_cast<size_t>(next[k])];
      if (known) continue;
      known = 1;
      open.push_back(next[k]);
    }
  }
  return seen;
}

std::string edge_key(const Circuit::Edge& e) { return e.from + "->" + e.to; }

std::unordered_set<std::string> members(const Circuit& c) {
  const CircuitIndex index(c);
  std::unordered_set<std::string> out;
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (index.belongs[e]) out.insert(edge_key(c.edges[e]));
  }
  return out;
}

std::unordered_set<std::string> member_nodes(const Circuit& c) {
  const CircuitIndex index(c);
  std::unordered_set<std::string> out;
  for (const Circuit::Node& n : c.nodes) {
    if (n.in_graph) out.insert(n.name);
  }
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (!index.belongs[e]) continue;
    out.emplace(index.names[static_cast<size_t>(index.from[e])]);
    out.emplace(index.names[static_cast<size_t>(index.to[e])]);
  }
  return out;
}

void require_one_model(const Circuit& a, const Circuit& b) {
  for (const auto& [what, x, y] : {std::tuple("layers", a.n_layers, b.n_layers), std::tuple("heads", a.n_heads, b.n_heads)}) {
    if (x > 0 && y > 0 && x != y) {
      throw Error(StatusCode::kBadInput, "the circuits are of different models: " + std::to_string(x) + " and " + std::to_string(y) + " " + what,
                  in_quotes(a.name) + " and " + in_quotes(b.name), "choose circuits of models of one shape");
    }
  }
}

// Nodes that do not belong leave their groups; groups without nodes vanish.
void tidy_groups(Circuit& c) {
  const std::unordered_set<std::string> in = member_nodes(c);
  for (Circuit::Group& g : c.groups) std::erase_if(g.nodes, [&](const std::string& n) { return !in.count(n); });
  std::erase_if(c.groups, [](const Circuit::Group& g) { return g.nodes.empty(); });
}

Circuit keep_where(Circuit a, const Circuit& b, bool in_both) {
  require_one_model(a, b);
  const std::unordered_set<std::string> other = members(b);
  const CircuitIndex index(a);
  std::vector<char> belongs = index.belongs;
  for (size_t e = 0; e < a.edges.size(); ++e) {
    if (belongs[e]) belongs[e] = (other.count(edge_key(a.edges[e])) != 0) == in_both;
  }
  mark(a, index, belongs);
  tidy_groups(a);
  return a;
}

template <class Set>
Overlap overlap(const Set& a, const Set& b) {
  Overlap out{static_cast<int64_t>(a.size()), static_cast<int64_t>(b.size()), 0};
  for (const auto& x : a) out.both += static_cast<int64_t>(b.count(x));
  return out;
}

}  // namespace

int CircuitPlace::stage() const {
  switch (kind) {
    case Kind::kInput: return 0;
    case Kind::kHead:
    case Kind::kMixer: return 2 * layer + 1;
    case Kind::kMlp: return 2 * layer + 2;
    case Kind::kLogits: return std::numeric_limits<int>::max();
    default: return -1;
  }
}

CircuitPlace circuit_place(std::string_view node) {
  using Kind = CircuitPlace::Kind;
  if (node == "input") return {Kind::kInput, -1, -1};
  if (node == "logits") return {Kind::kLogits, -1, -1};
  if (node.size() < 2 || node.size() > 24 || (node[0] != 'a' && node[0] != 'm')) return {};
  const bool mlp = node[0] == 'm';
  node.remove_prefix(1);
  const std::optional<int> layer = take_number(node, kMostLayers);
  if (!layer) return {};
  if (node.empty()) return {mlp ? Kind::kMlp : Kind::kMixer, *layer, -1};
  if (mlp || node.substr(0, 2) != ".h") return {};
  node.remove_prefix(2);
  const std::optional<int> head = take_number(node, kMostHeads);
  if (!head || !node.empty()) return {};
  return {Kind::kHead, *layer, *head};
}

std::pair<std::string_view, std::string_view> split_port(std::string_view end) {
  const size_t open = end.rfind('<');
  if (open == std::string_view::npos || open == 0 || end.back() != '>') return {end, {}};
  return {end.substr(0, open), end.substr(open + 1, end.size() - open - 2)};
}

CircuitIndex::CircuitIndex(const Circuit& circuit) {
  std::unordered_map<std::string_view, int> by_name;
  std::vector<char> out;                   // given with in_graph = false
  const auto node = [&](std::string_view name) {
    const auto [it, added] = by_name.emplace(name, static_cast<int>(names.size()));
    if (added) {
      names.push_back(name);
      out.push_back(0);
    }
    return it->second;
  };
  for (const Circuit::Node& n : circuit.nodes) {
    if (!by_name.count(n.name)) out[static_cast<size_t>(node(n.name))] = !n.in_graph;
  }
  const size_t n = circuit.edges.size();
  from.reserve(n);
  to.reserve(n);
  ports.reserve(n);
  belongs.reserve(n);
  for (const Circuit::Edge& e : circuit.edges) {
    const auto [name, port] = split_port(e.to);
    from.push_back(node(split_port(e.from).first));
    to.push_back(node(name));
    ports.push_back(port);
    belongs.push_back(e.in_graph && !out[static_cast<size_t>(from.back())] && !out[static_cast<size_t>(to.back())]);
  }
}

Circuit top_edges(Circuit c, int64_t n, const EdgeChoice& choice) {
  const CircuitIndex index(c);
  std::vector<size_t> edges;
  choose(c, choice, index, edges);
  const size_t keep = std::min(edges.size(), static_cast<size_t>(std::max<int64_t>(n, 0)));
  // The number breaks ties, so that the order is the same everywhere.
  std::partial_sort(edges.begin(), edges.begin() + static_cast<std::ptrdiff_t>(keep), edges.end(), [&](size_t a, size_t b) {
    const double x = rank_of(c.edges[a].score, choice.by), y = rank_of(c.edges[b].score, choice.by);
    return x != y ? x > y : a < b;
  });
  std::vector<char> belongs(c.edges.size(), 0);
  for (size_t k = 0; k < keep; ++k) belongs[edges[k]] = 1;
  mark(c, index, belongs);
  return c;
}

Circuit threshold_edges(Circuit c, double least, const EdgeChoice& choice) {
  const CircuitIndex index(c);
  std::vector<size_t> edges;
  choose(c, choice, index, edges);
  std::vector<char> belongs(c.edges.size(), 0);
  for (size_t e : edges) belongs[e] = rank_of(c.edges[e].score, choice.by) >= least;
  mark(c, index, belongs);
  return c;
}

PrunedCircuit prune_dead_ends(Circuit c) {
  const int64_t nodes = static_cast<int64_t>(member_nodes(c).size());
  const CircuitIndex index(c);
  // One pass each way is the fixed point: all edges of a way from input to logits stay with it.
  const std::vector<char> from_input = reachable(index, "input", true), to_logits = reachable(index, "logits", false);
  std::vector<char> belongs = index.belongs;
  PrunedCircuit out;
  for (size_t e = 0; e < belongs.size(); ++e) {
    if (!belongs[e] || (from_input[static_cast<size_t>(index.from[e])] && to_logits[static_cast<size_t>(index.to[e])])) continue;
    belongs[e] = 0;
    ++out.edges;
  }
  mark(c, index, belongs);
  out.circuit = std::move(c);
  out.nodes = nodes - static_cast<int64_t>(member_nodes(out.circuit).size());
  return out;
}

Circuit unite(const Circuit& a, const Circuit& b) {
  require_one_model(a, b);
  const std::unordered_set<std::string> in_a = members(a), in_b = members(b);
  Circuit out = a;
  std::unordered_map<std::string, size_t> known, known_node;
  for (size_t e = 0; e < out.edges.size(); ++e) known.emplace(edge_key(out.edges[e]), e);
  for (size_t n = 0; n < out.nodes.size(); ++n) known_node.emplace(out.nodes[n].name, n);
  for (const Circuit::Edge& e : b.edges) {
    const auto [it, added] = known.emplace(edge_key(e), out.edges.size());
    if (added) out.edges.push_back(e);
    else if (std::isnan(out.edges[it->second].score)) out.edges[it->second].score = e.score;
  }
  for (const Circuit::Node& n : b.nodes) {
    const auto [it, added] = known_node.emplace(n.name, out.nodes.size());
    if (added) out.nodes.push_back(n);
    else if (std::isnan(out.nodes[it->second].score)) out.nodes[it->second].score = n.score;
  }
  out.n_layers = std::max(a.n_layers, b.n_layers);
  out.n_heads = std::max(a.n_heads, b.n_heads);
  out.d_model = std::max(a.d_model, b.d_model);
  const CircuitIndex index(out);
  std::vector<char> belongs(out.edges.size(), 0);
  for (size_t e = 0; e < out.edges.size(); ++e) {
    const std::string key = edge_key(out.edges[e]);
    belongs[e] = in_a.count(key) || in_b.count(key);
  }
  mark(out, index, belongs);
  // A node is in one group: the first circuit's word holds.
  std::unordered_set<std::string> grouped;
  for (const Circuit::Group& g : out.groups) grouped.insert(g.nodes.begin(), g.nodes.end());
  for (const Circuit::Group& g : b.groups) {
    auto it = std::find_if(out.groups.begin(), out.groups.end(), [&](const Circuit::Group& o) { return o.name == g.name; });
    if (it == out.groups.end()) it = out.groups.insert(out.groups.end(), Circuit::Group{g.name, {}});
    for (const std::string& n : g.nodes) {
      if (grouped.insert(n).second) it->nodes.push_back(n);
    }
  }
  tidy_groups(out);
  return out;
}

Circuit intersect(const Circuit& a, const Circuit& b) { return keep_where(a, b, true); }
Circuit subtract(const Circuit& a, const Circuit& b) { return keep_where(a, b, false); }

Circuit set_group(Circuit c, const std::string& name, const std::vector<std::string>& nodes) {
  {
    const CircuitIndex index(c);
    const std::unordered_set<std::string_view> known(index.names.begin(), index.names.end());
    for (const std::string& n : nodes) {
      if (!known.count(n))
        throw Error(StatusCode::kBadInput, "the circuit has no node " + in_quotes(n), in_quotes(c.name), "its nodes are listed by `microtome circuit show`");
    }
  }
  const std::unordered_set<std::string> moved(nodes.begin(), nodes.end());
  for (Circuit::Group& g : c.groups) std::erase_if(g.nodes, [&](const std::string& n) { return moved.count(n) != 0; });
  if (!name.empty()) {
    auto it = std::find_if(c.groups.begin(), c.groups.end(), [&](const Circuit::Group& g) { return g.name == name; });
    if (it == c.groups.end()) it = c.groups.insert(c.groups.end(), Circuit::Group{name, {}});
    std::unordered_set<std::string> once;
    for (const std::string& n : nodes) {
      if (once.insert(n).second) it->nodes.push_back(n);
    }
  }
  std::erase_if(c.groups, [](const Circuit::Group& g) { return g.nodes.empty(); });
  return c;
}

CircuitCounts count_circuit(const Circuit& c) {
  const CircuitIndex index(c);
  CircuitCounts out;
  out.all_nodes = static_cast<int64_t>(index.names.size());
  out.all_edges = static_cast<int64_t>(c.edges.size());
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (!index.belongs[e]) continue;
    ++out.edges;
    ++out.ports[std::string(index.ports[e])];
  }
  for (const std::string& name : member_nodes(c)) {
    ++out.nodes;
    switch (circuit_place(name).kind) {
      case CircuitPlace::Kind::kHead: ++out.heads; break;
      case CircuitPlace::Kind::kMixer: ++out.mixers; break;
      case CircuitPlace::Kind::kMlp: ++out.mlps; break;
      default: break;
    }
  }
  return out;
}

double Overlap::jaccard() const {
  const int64_t any = a + b - both;
  return any > 0 ? static_cast<double>(both) / static_cast<double>(any) : std::numeric_limits<double>::quiet_NaN();
}

CircuitOverlap compare_circuits(const Circuit& a, const Circuit& b) {
  const auto heads = [](const std::unordered_set<std::string>& nodes) {
    std::unordered_set<std::string> out;
    for (const std::string& n : nodes) {
      if (circuit_place(n).kind == CircuitPlace::Kind::kHead) out.insert(n);
    }
    return out;
  };
  const std::unordered_set<std::string> x = member_nodes(a), y = member_nodes(b);
  return {overlap(members(a), members(b)), overlap(x, y), overlap(heads(x), heads(y))};
}

std::vector<size_t> edges_by_strength(const Circuit& c, const CircuitIndex& index) {
  std::vector<size_t> out;
  for (size_t e = 0; e < c.edges.size(); ++e) {
    if (index.belongs[e]) out.push_back(e);
  }
  const auto size = [&](size_t e) { return std::isnan(c.edges[e].score) ? -1 : std::fabs(c.edges[e].score); };
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) { return size(a) > size(b); });
  return out;
}

}  // namespace microtome
