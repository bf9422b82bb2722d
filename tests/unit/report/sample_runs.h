// sample_runs.h — runs as the analyses make them, for a softmax model and its linear twin, from a fixed seed:
// attention, states, logit lens, attribution, patching at three sites, ablation, head probes, and a circuit.
#pragma once

#include <vector>

#include "app/report/report.h"

namespace microtome::testing {

std::vector<ReportRun> sample_runs();
ReportOptions sample_options();
// A minimal run of one analysis with the given artifacts.
ReportRun single_run(std::vector<Artifact> artifacts);

}  // namespace microtome::testing
