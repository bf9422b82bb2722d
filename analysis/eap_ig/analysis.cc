// eap_ig — edge attribution with integrated gradients, arXiv 2403.17806; definition in README.md.
#include "analysis/circuit/score_run.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

const AnalysisInfo kInfo = {
    "eap_ig", 1, "Edge attribution with integrated gradients",
    "Edge attribution with the gradient averaged between the corrupted and the clean run: at points between their embeddings "
    "(inputs), at each node's output (activations), or at the two ends (clean_corrupted).",
    "arXiv 2403.17806", AnalysisInfo::Prompts::kPairs,
    {{"edge_scores", {"source", "destination"}, "score of every edge, mean over prompts"},
     {"standard_error", {"source", "destination"}, "of that mean"},
     {"frequency", {"source", "destination"}, "share of bootstrap resamples in which the edge is among the best"},
     {"edge_scores_by_position", {"source", "destination", "pos"}, "with positions=kept"},
     {"neuron_scores", {"layer", "neuron"}, "with neurons=true"},
     {"state_edges", {"layer", "head", "k_pos", "q_pos"}, "recurrent layers: through the state, by token written and token read"}}};

}  // namespace

void register_eap_ig(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) {
    circuit::Attribution how;
    const std::string mode = input.params.get_string("mode");
    how.gradient = mode == "inputs" ? circuit::Attribution::Gradient::kInputs
                   : mode == "activations" ? circuit::Attribution::Gradient::kActivations : circuit::Attribution::Gradient::kBothEnds;
    how.steps = input.params.get_int("steps");
    how.from_zero = input.params.get_string("ig_range") == "from_corrupted";
    return circuit::start_scores(input, kInfo, how);
  }});
}

}  // namespace microtome::analyses
