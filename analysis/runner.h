// runner.h — runs one analysis: resolves parameters, makes the key, answers from the store where it can, else computes
// the items that are missing, commits each, and stores the result.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/model/loaded_model.h"
#include "core/store/result_store.h"

namespace microtome {

struct RunSettings {
  std::string analysis;
  std::map<std::string, std::string> params;           // as given; defaults are filled in
  uint64_t seed = 0;
  std::string form = "auto", dtype = "float32", bos = "auto", device = "cpu";
  bool tf32 = false;
  std::string command;                                 // the command line that repeats it
  std::string task_json = "{}";                        // name, title, description, source of the task, for reports
  bool again = false;                                  // compute even when the store has the answer
};

struct RunOutcome {
  RunSpec spec;
  RunKey key;
  AnalysisResult result;
  RunRecord record;                                    // id 0 without a store
  std::string context_json;                            // model facts, prompts, definition: what a report needs
  bool from_store = false;
  int64_t items_resumed = 0;                           // found in the store
  double seconds = 0;
  std::vector<std::string> events;                     // "batch halved to 64 for lack of memory"
};

// Throws Error; items committed before it stay. store may be null. dataset: tokenised; empty for analyses that make their
// own tokens.
RunOutcome run_analysis(const LoadedModel& model, const Dataset& dataset, const RunSettings& settings, ResultStore* store,
                        Progress& progress);
// What a report needs beside the result.
std::string make_context(const LoadedModel& model, const Dataset& dataset, const AnalysisInfo& info,
                         const RunSettings& settings);
// Rows of `length` tokens a batch takes when nobody chose.
int64_t default_batch_rows(const Model& model, int64_t length);

}  // namespace microtome
