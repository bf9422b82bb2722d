// run_request.h — what a run is asked with and what it gives. Free of LibTorch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/base/artifact.h"
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

// Seen from the working thread while a run computes: what is known so far, unknown cells NaN. Only analyses whose items
// are parts of one picture have previews. What it throws is ignored.
using PreviewFn = std::function<void(const AnalysisResult& so_far)>;

}  // namespace microtome
