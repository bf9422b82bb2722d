// eap — edge attribution patching, arXiv 2310.10348; definition in README.md.
#include "analysis/circuit/score_run.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

const AnalysisInfo kInfo = {
    "eap", 1, "Edge attribution patching",
    "(corrupted - clean) of what a source writes times the metric's gradient at what a destination reads, on the clean run: a "
    "linear estimate of what corrupting each edge does, for all edges at once.",
    "arXiv 2310.10348", AnalysisInfo::Prompts::kPairs,
    {{"edge_scores", {"source", "destination"}, "score of every edge, mean over prompts"},
     {"standard_error", {"source", "destination"}, "of that mean"},
     {"frequency", {"source", "destination"}, "share of bootstrap resamples in which the edge is among the best"},
     {"edge_scores_by_position", {"source", "destination", "pos"}, "with positions=kept"},
     {"neuron_scores", {"layer", "neuron"}, "with neurons=true"},
     {"state_edges", {"layer", "head", "k_pos", "q_pos"}, "recurrent layers: through the state, by token written and token read"}}};

}  // namespace

void register_eap(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) { return circuit::start_scores(input, kInfo, {}); }});
}

}  // namespace microtome::analyses
