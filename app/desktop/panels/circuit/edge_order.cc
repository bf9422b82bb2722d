#include "app/desktop/panels/circuit/edge_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace microtome::desktop {
namespace {

// A run of digits at text[i…]; moves i behind it. −1: none, or more than a model has.
int digits(const std::string& text, size_t* i) {
  const size_t begin = *i;
  int value = 0;
  for (; *i < text.size() && text[*i] >= '0' && text[*i] <= '9'; ++*i) {
    value = value * 10 + (text[*i] - '0');
    if (value > 1'000'000) return -1;
  }
  return *i == begin ? -1 : value;
}

// From which step on each node is reached when edges (in `order`, by their ends) are added one by one. Nodes in `start` are reached at 0;
// 0 for others: never. Each edge is looked at a constant number of times.
std::vector<int64_t> reach(size_t nodes, const std::vector<std::pair<int, int>>& ends, const std::vector<size_t>& order,
                           const std::vector<char>& start, bool backward) {
  std::vector<int64_t> at(nodes, 0);
  std::vector<char> done = start;
  std::vector<std::vector<int>> out(nodes);
  std::vector<int> stack;
  for (size_t step = 0; step < order.size(); ++step) {
    const auto [from, to] = ends[order[step]];
    const int a = backward ? to : from, b = backward ? from : to;
    out[static_cast<size_t>(a)].push_back(b);
    if (!done[static_cast<size_t>(a)] || done[static_cast<size_t>(b)]) continue;
    stack.assign(1, b);
    while (!stack.empty()) {
      const auto n = static_cast<size_t>(stack.back());
      stack.pop_back();
      if (done[n]) continue;
      done[n] = 1;
      at[n] = static_cast<int64_t>(step) + 1;
      for (int next : out[n])
        if (!done[static_cast<size_t>(next)]) stack.push_back(next);
    }
  }
  for (size_t n = 0; n < nodes; ++n)
    if (!done[n]) at[n] = -1;
  return at;
}

}  // namespace

std::pair<std::string, std::string> endOf(const std::string& end) {
  const size_t open = end.rfind('<');
  if (open == std::string::npos || open == 0 || end.back() != '>') return {end, {}};
  return {end.substr(0, open), end.substr(open + 1, end.size() - open - 2)};
}

std::string edgeName(const Circuit::Edge& edge) { return edge.from + "->" + edge.to; }

NodePlaceName placeOfNode(const std::string& name) {
  if (name.size() < 2 || name.size() > 32) return {};
  size_t i = 1;
  const int layer = digits(name, &i);
  if (layer < 0) return {};
  if (name[0] == 'm' && i == name.size()) return {NodePlaceName::Kind::kMlp, layer, -1};
  if (name[0] != 'a' || name.compare(i, 2, ".h") != 0) return {};
  i += 2;
  const int head = digits(name, &i);
  if (head < 0 || i != name.size()) return {};
  return {NodePlaceName::Kind::kHead, layer, head};
}

EdgeOrder::EdgeOrder(std::shared_ptr<const Circuit> circuit) : circuit_(std::move(circuit)) {
  std::unordered_map<std::string, int> index;
  const auto number = [&](const std::string& name) {
    const auto [it, made] = index.emplace(name, static_cast<int>(names_.size()));
    if (made) names_.push_back(name);
    return it->second;
  };
  for (const Circuit::Node& n : circuit_->nodes) number(n.name);
  ends_.reserve(circuit_->edges.size());
  for (const Circuit::Edge& e : circuit_->edges) {
    const int a = number(endOf(e.from).first);
    ends_.emplace_back(a, number(endOf(e.to).first));
    found_ += e.in_graph;
  }
  std::vector<size_t> order(ends_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto size = [&](size_t i) {
    const double score = circuit_->edges[i].score;
    return std::isnan(score) ? -1 : std::abs(score);
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size(a) > size(b); });

  std::vector<char> starts(names_.size(), 0), ends(names_.size(), 0);
  const auto input = index.find("input"), logits = index.find("logits");
  if (input != index.end()) starts[static_cast<size_t>(input->second)] = 1;
  if (logits != index.end()) ends[static_cast<size_t>(logits->second)] = 1;
  if (input == index.end() || logits == index.end()) {
    std::vector<char> entered(names_.size(), 0), left(names_.size(), 0);
    for (const auto& [a, b] : ends_) left[static_cast<size_t>(a)] = entered[static_cast<size_t>(b)] = 1;
    for (size_t n = 0; n < names_.size(); ++n) {
      if (input == index.end() && !entered[n]) starts[n] = 1;
      if (logits == index.end() && !left[n]) ends[n] = 1;
    }
  }
  const std::vector<int64_t> there = reach(names_.size(), ends_, order, starts, false);
  const std::vector<int64_t> back = reach(names_.size(), ends_, order, ends, true);
  entry_.assign(ends_.size(), 0);
  for (size_t step = 0; step < order.size(); ++step) {
    const auto& [a, b] = ends_[order[step]];
    const int64_t x = there[static_cast<size_t>(a)], y = back[static_cast<size_t>(b)];
    if (x >= 0 && y >= 0) entry_[order[step]] = std::max({static_cast<int64_t>(step) + 1, x, y});
  }
  for (int64_t e : entry_)
    if (e > 0) sorted_.push_back(e);
  std::sort(sorted_.begin(), sorted_.end());
}

int64_t EdgeOrder::edges(const EdgeChoice& choice) const {
  if (choice.count == 0) return found_;
  return std::upper_bound(sorted_.begin(), sorted_.end(), choice.count) - sorted_.begin();
}

int64_t EdgeOrder::countFor(int64_t remaining) const {
  if (sorted_.empty()) return 0;
  return sorted_[static_cast<size_t>(std::clamp<int64_t>(remaining, 1, static_cast<int64_t>(sorted_.size())) - 1)];
}

std::vector<char> EdgeOrder::nodes(const EdgeChoice& choice) const {
  std::vector<char> out(names_.size(), 0);
  for (size_t e = 0; e < ends_.size(); ++e)
    if (holds(e, choice)) out[static_cast<size_t>(ends_[e].first)] = out[static_cast<size_t>(ends_[e].second)] = 1;
  return out;
}

std::vector<double> EdgeOrder::levels(bool asFound) const {
  std::vector<double> out(entry_.size());
  for (size_t e = 0; e < out.size(); ++e) {
    if (asFound) out[e] = circuit_->edges[e].in_graph ? 1 : -1;
    else out[e] = entry_[e] > 0 ? static_cast<double>(total() - entry_[e] + 1) : -1;
  }
  return out;
}

double EdgeOrder::threshold(const EdgeChoice& choice) const {
  return choice.count == 0 ? 0.5 : static_cast<double>(total() - choice.count) + 0.5;
}

Circuit EdgeOrder::chosen(const EdgeChoice& choice) const {
  Circuit out;
  out.name = circuit_->name;
  out.title = circuit_->title;
  out.n_layers = circuit_->n_layers;
  out.n_heads = circuit_->n_heads;
  out.d_model = circuit_->d_model;
  out.parallel_attn_mlp = circuit_->parallel_attn_mlp;
  const std::vector<char> there = nodes(choice);
  std::unordered_map<std::string, double> scores;
  for (const Circuit::Node& n : circuit_->nodes) scores.emplace(n.name, n.score);
  for (size_t n = 0; n < names_.size(); ++n) {
    if (!there[n]) continue;
    const auto score = scores.find(names_[n]);
    out.nodes.push_back({names_[n], true, score == scores.end() ? 0 : score->second});
  }
  for (size_t e = 0; e < entry_.size(); ++e) {
    if (!holds(e, choice)) continue;
    out.edges.push_back(circuit_->edges[e]);
    out.edges.back().in_graph = true;
  }
  return out;
}

CircuitPair::CircuitPair(std::shared_ptr<const EdgeOrder> left, std::shared_ptr<const EdgeOrder> right) : sides{left, right} {
  std::unordered_map<std::string, int> edges, nodes;
  const auto& others = right->circuit().edges;
  for (size_t e = 0; e < others.size(); ++e) edges.emplace(edgeName(others[e]), static_cast<int>(e));
  for (size_t n = 0; n < right->nodeNames().size(); ++n) nodes.emplace(right->nodeNames()[n], static_cast<int>(n));
  for (const Circuit::Edge& e : left->circuit().edges) {
    const auto found = edges.find(edgeName(e));
    edge_.push_back(found == edges.end() ? -1 : found->second);
    if (found != edges.end()) edges.erase(found);        // a name given twice is matched once
  }
  for (const std::string& name : left->nodeNames()) {
    const auto found = nodes.find(name);
    node_.push_back(found == nodes.end() ? -1 : found->second);
  }
}

CircuitPair::Overlap CircuitPair::overlap(const EdgeChoice& left, const EdgeChoice& right) const {
  Overlap out;
  out.edges[0].assign(edge_.size(), 0);
  out.edges[1].assign(sides[1]->entry().size(), 0);
  for (size_t e = 0; e < edge_.size(); ++e) {
    const int other = edge_[e];
    if (other < 0 || !sides[0]->holds(e, left) || !sides[1]->holds(static_cast<size_t>(other), right)) continue;
    out.edges[0][e] = out.edges[1][static_cast<size_t>(other)] = 1;
    ++out.sharedEdges;
  }
  out.unionEdges = sides[0]->edges(left) + sides[1]->edges(right) - out.sharedEdges;
  const std::vector<char> mine = sides[0]->nodes(left), theirs = sides[1]->nodes(right);
  out.nodes[0].assign(mine.size(), 0);
  out.nodes[1].assign(theirs.size(), 0);
  int64_t heads = 0;
  const auto isHead = [](const std::string& name) { return placeOfNode(name).kind == NodePlaceName::Kind::kHead; };
  for (size_t n = 0; n < mine.size(); ++n) {
    if (!mine[n]) continue;
    const bool head = isHead(sides[0]->nodeNames()[n]);
    heads += head;
    const int other = node_[n];
    if (other < 0 || !theirs[static_cast<size_t>(other)]) continue;
    out.nodes[0][n] = out.nodes[1][static_cast<size_t>(other)] = 1;
    out.sharedHeads += head;
  }
  for (size_t n = 0; n < theirs.size(); ++n) heads += theirs[n] && isHead(sides[1]->nodeNames()[n]);
  out.unionHeads = heads - out.sharedHeads;
  return out;
}

}  // namespace microtome::desktop
