// graph_samples.h — circuits for the tests of the graph: a small one that dot lays out, and one of GPT-2 small's size.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "app/desktop/views/graph_view.h"

namespace microtome::desktop {

inline Circuit smallCircuit() {
  Circuit c;
  for (const char* n : {"input", "a0.h1", "a0.h6", "m0", "a1.h0", "a1.h5", "a2.h3", "m2", "a3.h1", "a3.h7", "m3", "logits"})
    c.nodes.push_back({n, true, 0.3});
  auto edge = [&](const char* from, const char* to, double score) { c.edges.push_back({from, to, true, score}); };
  edge("input", "a0.h1<q>", 0.1), edge("input", "a0.h6<v>", 0.42), edge("input", "m0", 0.2), edge("a0.h1", "a1.h5<k>", 0.55);
  edge("a0.h6", "m0", -0.12), edge("m0", "a1.h0<q>", 0.3), edge("m0", "a2.h3<v>", -0.44), edge("a1.h0", "a2.h3<q>", 0.21);
  edge("a1.h5", "a2.h3<k>", 0.62), edge("a1.h5", "a3.h1<v>", 0.12), edge("a2.h3", "m2", 0.18), edge("m2", "a3.h7<q>", -0.3);
  edge("a2.h3", "a3.h1<q>", 0.5), edge("a2.h3", "logits", 0.7), edge("a3.h1", "logits", 0.83), edge("a3.h7", "logits", -0.51);
  edge("m3", "logits", 0.15), edge("a3.h1", "m3", 0.1), edge("a0.h6", "a3.h7<k>", 0.25), edge("m2", "m3", -0.07);
  return c;
}

// Every edge that a model of so many layers and heads has; 12 × 12: 32,491. Few scores are large.
inline Circuit fullCircuit(int layers = 12, int heads = 12) {
  Circuit c;
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  std::vector<std::string> sources{"input"};
  c.nodes.push_back({"input", true, 0});
  auto edge = [&](const std::string& from, const std::string& to) {
    const double z = normal(random);
    c.edges.push_back({from, to, true, 0.02 * z * z * z});
  };
  for (int l = 0; l < layers; ++l) {
    std::vector<std::string> now;
    for (int h = 0; h < heads; ++h) {
      now.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
      c.nodes.push_back({now.back(), true, 0});
      for (const std::string& s : sources)
        for (const char* port : {"<q>", "<k>", "<v>"}) edge(s, now.back() + port);
    }
    sources.insert(sources.end(), now.begin(), now.end());
    const std::string mlp = "m" + std::to_string(l);
    c.nodes.push_back({mlp, true, 0});
    for (const std::string& s : sources) edge(s, mlp);
    sources.push_back(mlp);
  }
  c.nodes.push_back({"logits", true, 0});
  for (const std::string& s : sources) edge(s, "logits");
  return c;
}

// The threshold at which the `shown` strongest edges are left.
inline double thresholdFor(const GraphData& graph, size_t shown) {
  std::vector<double> sizes;
  for (const GraphEdge& e : graph.edges) sizes.push_back(std::abs(e.score));
  std::sort(sizes.rbegin(), sizes.rend());
  return sizes.at(shown - 1);
}

inline int nodeNamed(const GraphData& graph, const char* name) {
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].name == QLatin1String(name)) return static_cast<int>(i);
  return -1;
}

}  // namespace microtome::desktop
