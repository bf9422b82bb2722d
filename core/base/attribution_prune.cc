#include "core/base/attribution_prune.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace microtome {
namespace {

using Kind = AttributionGraph::Kind;

bool prunable(const AttributionGraph::Node& n) { return n.kind == Kind::kFeature || n.kind == Kind::kError; }

double own(const AttributionGraph::Node& n) { return std::isfinite(n.influence) ? std::max(0.0, n.influence) : 0; }

double kept_share(double threshold) { return threshold > 0 && threshold < 1 ? threshold : 1; }

// A target stands above all that leads to it; an error of a layer beside its features.
int64_t height(const AttributionGraph& g, const AttributionGraph::Node& n) {
  return n.kind == Kind::kToken ? -1 : n.kind == Kind::kLogit ? g.n_layers : n.layer;
}

}  // namespace

AttributionPruner::AttributionPruner(const AttributionGraph& graph) : graph_(graph) {
  const auto nodes = static_cast<int64_t>(graph.nodes.size());
  double weakest = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < nodes; ++i) {
    const AttributionGraph::Node& n = graph.nodes[static_cast<size_t>(i)];
    if (n.kind == Kind::kLogit) continue;
    by_influence_.push_back(i);
    if (prunable(n)) weakest = std::min(weakest, own(n));
  }
  std::stable_sort(by_influence_.begin(), by_influence_.end(),
                   [&](int64_t a, int64_t b) { return own(graph.nodes[static_cast<size_t>(a)]) > own(graph.nodes[static_cast<size_t>(b)]); });
  // What reached the run's threshold: tokens that are weaker than all it kept were kept for another reason.
  for (int64_t i : by_influence_) {
    const double influence = own(graph.nodes[static_cast<size_t>(i)]);
    if (influence >= weakest || weakest == std::numeric_limits<double>::infinity()) total_ += influence;
  }
  total_ /= kept_share(graph.node_threshold);
  for (size_t e = 0; e < graph.edges.size(); ++e) {
    const AttributionGraph::Edge& edge = graph.edges[e];
    if (edge.from < 0 || edge.to < 0 || edge.from >= nodes || edge.to >= nodes || !std::isfinite(edge.weight)) continue;
    // Upwards only: what goes sideways or down would go in circles.
    if (height(graph, graph.nodes[static_cast<size_t>(edge.from)]) >= height(graph, graph.nodes[static_cast<size_t>(edge.to)])) continue;
    edges_down_.push_back(static_cast<int64_t>(e));
  }
  std::stable_sort(edges_down_.begin(), edges_down_.end(), [&](int64_t a, int64_t b) {
    const auto top = [&](int64_t e) { return height(graph, graph.nodes[static_cast<size_t>(graph.edges[static_cast<size_t>(e)].to)]); };
    return top(a) > top(b);
  });
}

std::vector<double> AttributionPruner::influence(const std::vector<char>& nodes, std::vector<double>* edge) const {
  std::vector<double> reach(graph_.nodes.size(), 0), out(graph_.nodes.size(), 0);
  const auto joins = [&](const AttributionGraph::Edge& e) { return nodes[static_cast<size_t>(e.from)] && nodes[static_cast<size_t>(e.to)]; };
  for (int64_t i : edges_down_) {
    const AttributionGraph::Edge& e = graph_.edges[static_cast<size_t>(i)];
    if (joins(e)) reach[static_cast<size_t>(e.to)] += std::abs(e.weight);
  }
  for (size_t n = 0; n < graph_.nodes.size(); ++n)
    if (graph_.nodes[n].kind == Kind::kLogit) out[n] = graph_.nodes[n].activation;
  if (edge) edge->assign(graph_.edges.size(), 0);
  for (int64_t i : edges_down_) {
    const AttributionGraph::Edge& e = graph_.edges[static_cast<size_t>(i)];
    const double all = reach[static_cast<size_t>(e.to)];
    if (!joins(e) || !(all > 0)) continue;
    const double share = std::abs(e.weight) / all * out[static_cast<size_t>(e.to)];
    out[static_cast<size_t>(e.from)] += share;
    if (edge) (*edge)[static_cast<size_t>(i)] = share;
  }
  return out;
}

AttributionCut AttributionPruner::at(double node_share, double edge_share) const {
  AttributionCut cut;
  cut.nodes.assign(graph_.nodes.size(), 0);
  cut.edges.assign(graph_.edges.size(), 0);
  for (size_t i = 0; i < graph_.nodes.size(); ++i) cut.nodes[i] = !prunable(graph_.nodes[i]);
  double sum = 0;
  const bool every_node = node_share >= kept_share(graph_.node_threshold);
  for (int64_t i : by_influence_) {
    const AttributionGraph::Node& n = graph_.nodes[static_cast<size_t>(i)];
    if (!every_node && sum >= node_share * total_) break;
    cut.nodes[static_cast<size_t>(i)] = 1;
    sum += own(n);
  }
  std::vector<double> strength;
  influence(cut.nodes, &strength);
  std::vector<int64_t> order;
  double all = 0;
  for (int64_t i : edges_down_)
    if (strength[static_cast<size_t>(i)] > 0) {
      order.push_back(i);
      all += strength[static_cast<size_t>(i)];
    }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return strength[static_cast<size_t>(a)] > strength[static_cast<size_t>(b)]; });
  sum = 0;
  const bool every_edge = edge_share >= kept_share(graph_.edge_threshold);
  all /= kept_share(graph_.edge_threshold);
  for (int64_t i : order) {
    if (!every_edge && sum >= edge_share * all) break;
    cut.edges[static_cast<size_t>(i)] = 1;
    sum += strength[static_cast<size_t>(i)];
  }
  for (bool again = true; again;) {
    again = false;
    std::vector<char> leads(graph_.nodes.size(), 0), reached(graph_.nodes.size(), 0);
    for (int64_t i : order)
      if (cut.edges[static_cast<size_t>(i)]) {
        leads[static_cast<size_t>(graph_.edges[static_cast<size_t>(i)].from)] = 1;
        reached[static_cast<size_t>(graph_.edges[static_cast<size_t>(i)].to)] = 1;
      }
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!cut.nodes[n] || !prunable(graph_.nodes[n])) continue;
      if (leads[n] && (reached[n] || graph_.nodes[n].kind == Kind::kError)) continue;
      cut.nodes[n] = 0;
      again = true;
    }
    if (again)
      for (int64_t i : order) {
        const AttributionGraph::Edge& e = graph_.edges[static_cast<size_t>(i)];
        if (!cut.nodes[static_cast<size_t>(e.from)] || !cut.nodes[static_cast<size_t>(e.to)]) cut.edges[static_cast<size_t>(i)] = 0;
      }
  }
  cut.node_count = std::count(cut.nodes.begin(), cut.nodes.end(), char{1});
  cut.edge_count = std::count(cut.edges.begin(), cut.edges.end(), char{1});
  return cut;
}

}  // namespace microtome
