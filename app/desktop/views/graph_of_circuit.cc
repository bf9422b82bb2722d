// Circuits of language models as graphs: names of nodes say where they stand.
#include <unordered_map>

#include "app/desktop/views/graph_view.h"
#include "app/layout/circuit_ranks.h"

namespace microtome::desktop {
namespace {

constexpr int kMostHeads = 4096;

class Builder {
 public:
  explicit Builder(const Circuit& circuit, bool onlyMembers) {
    for (const Circuit::Node& n : circuit.nodes) {
      if (index_.count(n.name)) continue;
      if (onlyMembers && !n.in_graph) index_.emplace(n.name, -1);
      else add(n.name, n.score);
    }
    for (const Circuit::Edge& e : circuit.edges) {
      if (onlyMembers && !e.in_graph) continue;
      const auto [to, port] = split_port(e.to);
      const int a = find(std::string(split_port(e.from).first)), b = find(std::string(to));
      if (a < 0 || b < 0) continue;              // an end is no member
      data_.edges.push_back({a, b, portText(std::string(port)), e.score});
    }
    rank();
  }
  GraphData take() { return std::move(data_); }

 private:
  int add(const std::string& name, double score) {
    const CircuitPlace p = circuit_place(name);
    const bool head = p.kind == CircuitPlace::Kind::kHead;
    GraphNode node;
    node.name = QString::fromStdString(name);
    node.score = score;
    node.box = !head;
    node.label = node.name;
    if (head) {
      node.label = QStringLiteral("%1.%2").arg(p.layer).arg(p.head);
      node.column = p.head <= kMostHeads ? p.head : -1;
    }
    const int i = static_cast<int>(data_.nodes.size());
    data_.nodes.push_back(std::move(node));
    places_.push_back(p);
    index_.emplace(name, i);
    return i;
  }
  // −1: left out on purpose. A name that no node has is made one.
  int find(const std::string& name) {
    const auto it = index_.find(name);
    return it != index_.end() ? it->second : add(name, 0);
  }
  QString portText(const std::string& port) {
    if (port.empty()) return {};
    auto it = ports_.find(port);
    if (it == ports_.end()) it = ports_.emplace(port, QString::fromStdString(port)).first;
    return it->second;
  }

  void rank() {
    std::vector<std::pair<int, int>> ends;
    ends.reserve(data_.edges.size());
    for (const GraphEdge& e : data_.edges) ends.emplace_back(e.from, e.to);
    const std::vector<int> ranks = layout::circuit_ranks(places_, ends);
    for (size_t i = 0; i < ranks.size(); ++i) {
      data_.nodes[i].rank = ranks[i];
      if (places_[i].layer >= 0) data_.rankNames[ranks[i]] = QStringLiteral("L%1").arg(places_[i].layer);
    }
  }

  GraphData data_;
  std::vector<CircuitPlace> places_;
  std::unordered_map<std::string, int> index_;
  std::unordered_map<std::string, QString> ports_;
};

}  // namespace

GraphData graphOf(const Circuit& circuit, bool onlyMembers) { return Builder(circuit, onlyMembers).take(); }

}  // namespace microtome::desktop
