// Circuits of language models as graphs: names of nodes say where they stand.
#include <QHash>
#include <algorithm>
#include <optional>
#include <unordered_map>

#include "app/desktop/views/graph_view.h"

namespace microtome::desktop {
namespace {

constexpr int kMostLayers = 100'000, kMostHeads = 4096;

// A run of digits at text[i…]; moves i behind it. None, or more than `most`: nothing.
std::optional<int> numberAt(const std::string& text, size_t* i, int most) {
  const size_t begin = *i;
  int64_t value = 0;
  while (*i < text.size() && text[*i] >= '0' && text[*i] <= '9') {
    value = value * 10 + (text[*i] - '0');
    if (value > most) return std::nullopt;
    ++*i;
  }
  if (*i == begin) return std::nullopt;
  return static_cast<int>(value);
}

enum class Place { kUnknown, kInput, kHead, kMlp, kLogits };

struct Parsed {
  Place place = Place::kUnknown;
  int layer = 0, head = -1;
};

Parsed parse(const std::string& name) {
  if (name == "input") return {Place::kInput, 0, -1};
  if (name == "logits") return {Place::kLogits, 0, -1};
  if (name.size() < 2 || name.size() > 24) return {};
  size_t i = 1;
  const std::optional<int> layer = numberAt(name, &i, kMostLayers);
  if (!layer) return {};
  if (name[0] == 'm' && i == name.size()) return {Place::kMlp, *layer, -1};
  if (name[0] != 'a' || name.compare(i, 2, ".h") != 0) return {};
  i += 2;
  const std::optional<int> head = numberAt(name, &i, 1'000'000);
  if (!head || i != name.size()) return {};
  return {Place::kHead, *layer, *head};
}

// "a1.h0<q>" → "a1.h0", "q".
std::pair<std::string, std::string> withPort(const std::string& end) {
  const size_t open = end.rfind('<');
  if (open == std::string::npos || open == 0 || end.back() != '>') return {end, {}};
  return {end.substr(0, open), end.substr(open + 1, end.size() - open - 2)};
}

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
      const auto [to, port] = withPort(e.to);
      const int a = find(withPort(e.from).first), b = find(to);
      if (a < 0 || b < 0) continue;              // an end is no member
      data_.edges.push_back({a, b, portText(port), e.score});
    }
    rank();
  }
  GraphData take() { return std::move(data_); }

 private:
  int add(const std::string& name, double score) {
    const Parsed p = parse(name);
    GraphNode node;
    node.name = QString::fromStdString(name);
    node.score = score;
    node.box = p.place != Place::kHead;
    node.label = node.name;
    if (p.place == Place::kHead) {
      node.label = QStringLiteral("%1.%2").arg(p.layer).arg(p.head);
      node.column = p.head <= kMostHeads ? p.head : -1;
    }
    const int i = static_cast<int>(data_.nodes.size());
    data_.nodes.push_back(std::move(node));
    parsed_.push_back(p);
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
    int last = 0;
    bool unknown = false;
    for (size_t i = 0; i < parsed_.size(); ++i) {
      int& rank = data_.nodes[i].rank;
      switch (parsed_[i].place) {
        case Place::kHead: rank = 2 * parsed_[i].layer + 1; break;
        case Place::kMlp: rank = 2 * parsed_[i].layer + 2; break;
        case Place::kUnknown: unknown = true; break;
        default: break;
      }
      if (parsed_[i].place == Place::kHead || parsed_[i].place == Place::kMlp)
        data_.rankNames[rank] = QStringLiteral("L%1").arg(parsed_[i].layer);
    }
    // What is not known by name stands above all that leads to it; passes are bounded, as names may go in a circle.
    for (int pass = 0; unknown && pass < 64; ++pass) {
      bool moved = false;
      for (const GraphEdge& e : data_.edges) {
        const size_t from = static_cast<size_t>(e.from), to = static_cast<size_t>(e.to);
        if (parsed_[to].place != Place::kUnknown || parsed_[from].place == Place::kLogits || from == to) continue;
        if (data_.nodes[to].rank > data_.nodes[from].rank) continue;
        data_.nodes[to].rank = data_.nodes[from].rank + 1;
        moved = true;
      }
      if (!moved) break;
    }
    for (size_t i = 0; i < parsed_.size(); ++i)
      if (parsed_[i].place != Place::kLogits) last = std::max(last, data_.nodes[i].rank);
    for (size_t i = 0; i < parsed_.size(); ++i)
      if (parsed_[i].place == Place::kLogits) data_.nodes[i].rank = last + 1;
  }

  GraphData data_;
  std::vector<Parsed> parsed_;
  std::unordered_map<std::string, int> index_;
  std::unordered_map<std::string, QString> ports_;
};

}  // namespace

GraphData graphOf(const Circuit& circuit, bool onlyMembers) { return Builder(circuit, onlyMembers).take(); }

}  // namespace microtome::desktop
