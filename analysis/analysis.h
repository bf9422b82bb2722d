// analysis.h — what an analysis is: a name, a parameter schema (params.json beside it), items that are computed one by
// one and kept one by one, and a pure function from all items to the result. An analysis writes artifacts, never pictures.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/params.h"
#include "core/base/progress.h"
#include "core/io/tokenizer.h"
#include "core/model/model.h"
#include "core/tasks/task.h"

namespace microtome {

struct OutputInfo {
  std::string name;                    // as analyses.md gives it
  std::vector<std::string> axes;
  std::string help;
};

struct AnalysisInfo {
  std::string name;
  int64_t version = 1;                 // raised whenever the same inputs give another answer
  std::string title, definition, source;
  enum class Prompts { kNone, kClean, kPairs };
  Prompts prompts = Prompts::kPairs;   // what the dataset must hold; kNone: the analysis makes its own tokens
  std::vector<OutputInfo> outputs;
};

// What a run is given. References outlive the run.
struct AnalysisInput {
  const Model& model;
  const Tokenizer* tokenizer = nullptr;   // may be null: then tokens are shown by id
  const Dataset& dataset;                 // tokenised; empty for kNone
  Params params;                          // defaults filled in
  uint64_t seed = 0;
  MixerForm form = MixerForm::kAuto;
};

// One run of an analysis. Used by one thread at a time.
class AnalysisRun {
 public:
  virtual ~AnalysisRun() = default;
  virtual int64_t item_count() const = 0;
  virtual std::string item_title(int64_t item) const = 0;
  // Must not depend on which items ran before: a resumed run gives the same numbers. Random draws use
  // item_seed(input.seed, item). Calls progress.step() at least once a batch.
  virtual std::vector<NamedArray> run_item(int64_t item, Progress& progress) = 0;
  // A pure function of all items (and of what the constructor derived from the input).
  virtual AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) = 0;
  // Rows a batch may have at most; chosen once by the runner. An analysis that does not batch ignores it.
  virtual void set_batch(int64_t rows) { (void)rows; }
};

struct AnalysisKind {
  AnalysisInfo info;
  std::function<std::unique_ptr<AnalysisRun>(const AnalysisInput&)> start;
};

}  // namespace microtome
