// runner.h — runs one analysis: resolves parameters, makes the key, answers from the store where it can, else computes
// the items that are missing, commits each, and stores the result.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/run_request.h"
#include "core/model/loaded_model.h"
#include "core/store/result_store.h"

namespace microtome::analyses {
class Registry;
}

namespace microtome {

// Throws Error; items committed before it stay. store may be null. dataset: tokenised; empty for analyses that make their
// own tokens. registry: the built-in analyses, or those with plug-ins. preview: see run_request.h; it is shown after every
// part that the analysis tells of, but takes no more than a twentieth of the time (beyond its first fifth of a second).
RunOutcome run_analysis(const analyses::Registry& registry, const LoadedModel& model, const Dataset& dataset,
                        const RunSettings& settings, ResultStore* store, Progress& progress,
                        const PreviewFn& preview = {});
// What a report needs beside the result.
std::string make_context(const LoadedModel& model, const Dataset& dataset, const AnalysisInfo& info,
                         const RunSettings& settings);
// Rows of `length` tokens a batch takes when nobody chose.
int64_t default_batch_rows(const Model& model, int64_t length);

}  // namespace microtome
