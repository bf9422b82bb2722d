// attribution_file.h — an attribution graph as the JSON that Neuronpedia and circuit-tracer's page read (schema: Neuronpedia,
// apps/webapp/app/api/graph/graph-schema.json; fields as circuit-tracer writes them). Errors are "LAYER_-1_POSITION", so that
// none has a feature's name; logits carry their probability in words. Free of LibTorch.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/attribution_graph.h"
#include "core/base/json.h"

namespace microtome {

// "2_153_7": feature 153 of layer 2 at position 7; "2_-1_7": that layer's error; "E_41_0": token 41 at position 0; "5_41_7":
// logit of token 41 in a model of 4 layers.
std::string graph_node_id(const AttributionGraph& graph, const AttributionGraph::Node& node);

struct NeuronpediaOptions {
  std::string slug, scan;              // scan: the model's name there ("gemma-2-2b")
  std::string prompt;                  // empty: the tokens put together
  int64_t max_bytes = 20'000'000;      // of the text
  // Share of all influence that nodes at least as influential have, a node ("influence" there); empty: over the graph's own.
  std::vector<double> cumulative;
  std::map<std::string, double> settings;   // generation_settings
};
struct NeuronpediaText {
  std::string json;
  size_t nodes = 0, links = 0;
  size_t links_left_out = 0, nodes_left_out = 0;   // to come below max_bytes: the weakest links, and nodes that hung on them
};
// Throws Error(kBadInput) when not even the tokens and logits fit.
NeuronpediaText graph_to_neuronpedia(const AttributionGraph& graph, const NeuronpediaOptions& options);

}  // namespace microtome
