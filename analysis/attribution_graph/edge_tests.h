// edge_tests.h — is a claimed edge true? The source feature is taken away in the model, and what happens to the target is
// compared with what the edge says.
#pragma once

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
EdgeTest test_edge(GraphBuild& build, const std::vector<int64_t>& tokens, const feature_circuit::KeptEdge& edge, MixerForm form);
// All paths from a feature whose activation falls to 0, as a change of target's pre-activation.
double predicted_total(const GraphBuild& build, int64_t from, int64_t to);
// Pearson; NaN for fewer than three pairs or a constant side.
double correlation(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace microtome::analyses
