// score_run.h — the analysis run that `eap` and `eap_ig` are: edge scores of every group of prompts, then their mean, a
// circuit of the best edges, how sure each is and how often it is chosen.
#pragma once

#include <memory>

#include "analysis/circuit/attribution.h"
#include "analysis/circuit/scores.h"
#include "analysis/engine/prompts.h"

namespace microtome::circuit {

std::unique_ptr<AnalysisRun> start_scores(const AnalysisInput& input, const AnalysisInfo& info, Attribution how);

}  // namespace microtome::circuit
