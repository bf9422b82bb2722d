// edge_tests.h — is a claimed edge true? The source feature is taken away in the model, and what happens to the target is
// compared with what the edge says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analysis/attribution_graph/build.h"

namespace microtome::analyses {

// Changes of the target's pre-activation (or of its logit over the mean logit) when the source's activation becomes 0.
struct EdgeTest {
  int64_t from = 0, to = 0;
  double predicted = 0;              // of the edge alone: minus its weight
  double predicted_total = 0;        // of all paths from source to target, features staying on
  double frozen = 0;                 // in the replacement model, everything frozen: must be `predicted`
  double attention_frozen = 0;       // in the model with its attention patterns and norms' scales frozen; MLPs recomputed
  double recomputed = 0;             // in the model, everything recomputed
};

// The strongest edges from a feature that pruning kept, at most `count`: half of them to features, half to logits, where there
// are so many. Strongest first.
std::vector<feature_circuit::KeptEdge> edges_to_test(GraphBuild& build, int64_t count);

// An edge as a person names it: "3.109@12>994" is from feature 109 of layer 3 at position 12 to the logit of token 994, "0.213@12>3.232@12" to
// another feature.
struct EdgeName {
  int64_t layer = 0, feature = 0, position = 0;
  int64_t to_layer = -1, to_feature = 0, to_position = 0;   // layer -1: a logit, to_feature its token
  std::string text;
};
// Several by commas. Throws Error(kBadInput) naming the one that is malformed.
std::vector<EdgeName> read_edge_names(const std::string& text, const std::string& param);
// The kept edge of that name; empty: the graph has none.
std::optional<feature_circuit::KeptEdge> find_edge(GraphBuild& build, const EdgeName& name);
EdgeTest test_edge(GraphBuild& build, const std::vector<int64_t>& tokens, const feature_circuit::KeptEdge& edge, MixerForm form);
// All paths from a feature whose activation falls to 0, as a change of target's pre-activation.
double predicted_total(const GraphBuild& build, int64_t from, int64_t to);
// Pearson; NaN for fewer than three pairs or a constant side.
double correlation(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace microtome::analyses
