// picture.h — a finished graph in words and artifacts: labels, supernodes, strongest paths, tables.
#pragma once

#include <string>
#include <vector>

#include "analysis/attribution_graph/edge_tests.h"

namespace microtome::analyses {

struct GraphText {
  const Tokenizer* tokenizer = nullptr;
  std::string name, title;             // of the artifact
  std::string supernodes;              // none, decoder, top_logit
  double similarity = 0.8;
  std::string groups;                  // path of a file with groups; empty: none
  int64_t paths = 20;
};

// The kept nodes and edges, and what a view and the exports need beside them, in one order of nodes.
class GraphPicture {
 public:
  GraphPicture(GraphBuild& build, const std::vector<int64_t>& tokens, const GraphOptions& options, const GraphText& text);

  const AttributionGraph& graph() const { return graph_; }
  TensorMap numbers() const;           // "NAME nodes": influence, cumulative [node]
  Table node_table(size_t most = 50) const;
  Table path_table() const;
  Table test_table(const std::vector<EdgeTest>& tests) const;
  std::string node_name(int64_t node) const;   // of a node of the build: "feature 12 of layer 2 at “ the”"
  // The strongest path from a token through features, else the strongest at all, a sentence; empty where there is none.
  std::string strongest_path() const;

 private:
  void find_labels();
  void group_by_similarity(double least);
  void group_by_top_logit();
  void group_by_file(const std::string& path);
  void find_paths(int64_t most);

  struct Path { double share = 0; std::vector<int64_t> nodes; };   // from source to logit; nodes of the graph
  GraphBuild& build_;
  GraphText text_;
  AttributionGraph graph_;
  std::vector<int64_t> of_, place_;            // graph node → node of the build, and back (-1)
  std::vector<double> cumulative_;
  std::vector<std::string> top_tokens_;        // of features: what they raise most
  std::vector<Path> paths_;
  Path through_features_;                      // the strongest from a token through features
};

}  // namespace microtome::analyses
