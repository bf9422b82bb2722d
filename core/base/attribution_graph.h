// attribution_graph.h — features, tokens, errors and logits of one prompt, and what each adds to each in the model whose
// MLPs are replaced by transcoders and whose attention and norms are frozen (Ameisen et al. 2025, "Circuit tracing"; the
// conventions of the program circuit-tracer). Free of LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace microtome {

struct AttributionGraph {
  enum class Kind { kToken, kFeature, kError, kLogit };
  struct Node {
    Kind kind = Kind::kFeature;
    int64_t layer = 0;                       // of the MLP; tokens: -1, logits: number of layers
    int64_t position = 0;                    // of the token; logits: the last
    int64_t feature = -1;                    // index in the layer's dictionary; logits: the token id; tokens: the id read there
    double activation = 0;                   // features: of the encoder; logits: probability
    double influence = 0;                    // on the logits, as pruning ranks them: 0…1, cumulative shares are over all nodes
    bool in_graph = true;                    // kept by pruning
    std::string label;
  };
  struct Edge {
    int64_t from = 0, to = 0;                // indices into nodes
    double weight = 0;                       // what `from` adds to `to`'s pre-activation (or to the logit)
  };
  struct Supernode { std::string name; std::vector<int64_t> nodes; };

  std::string name, title;
  std::vector<int64_t> token_ids;
  std::vector<std::string> tokens;           // texts, one a position
  int64_t n_layers = 0;
  std::string dictionary;                    // name of the transcoder set
  double node_threshold = 0.8, edge_threshold = 0.98;   // cumulative influence kept
  double replacement_score = 0, completeness_score = 0;
  std::vector<Node> nodes;
  std::vector<Edge> edges;
  std::vector<Supernode> supernodes;
};

}  // namespace microtome
