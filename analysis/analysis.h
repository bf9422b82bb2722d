// analysis.h — what an analysis is: a name, a parameter schema (params.json beside it), items that are computed one by
// one and kept one by one, and a pure function from all items to the result. An analysis writes artifacts, never pictures.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analysis/analysis_info.h"
#include "core/base/artifact.h"
#include "core/base/params.h"
#include "core/base/progress.h"
#include "core/io/tokenizer.h"
#include "core/model/model.h"
#include "core/tasks/task.h"

namespace microtome {

// What a run is given. References outlive the run.
struct AnalysisInput {
  const Model& model;
  const Tokenizer* tokenizer = nullptr;   // may be null: then tokens are shown by id
  const Dataset& dataset;                 // tokenised; empty for kNone
  Params params;                          // defaults filled in
  uint64_t seed = 0;
  MixerForm form = MixerForm::kAuto;
  std::string model_name{}, weights_hash{};   // as a run's key has them
};

// One run of an analysis. Used by one thread at a time.
class AnalysisRun {
 public:
  virtual ~AnalysisRun() = default;
  virtual int64_t item_count() const = 0;
  virtual std::string item_title(int64_t item) const = 0;
  // Called before run_item with what the items before it gave, whether they ran now or were stored: for work that goes on
  // from item to item (a search, an evaluation of what was found). What an item gives may depend on these and on nothing
  // else that happened.
  virtual void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) {
    (void)item;
    (void)so_far;
  }
  // Must not depend on which items ran before: a resumed run gives the same numbers. Random draws use
  // item_seed(input.seed, item). Calls progress.step() at least once a batch.
  virtual std::vector<NamedArray> run_item(int64_t item, Progress& progress) = 0;
  // A pure function of all items (and of what the constructor derived from the input).
  virtual AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) = 0;
  // What is known before all items are: the picture of finish(), with NaN where items are missing (empty vectors) or hold
  // NaN themselves. Of all items it is what finish() gives. nullopt: there is no picture yet, or never one. May cost no
  // more than a moment, and changes nothing that run_item or finish give.
  virtual std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) {
    (void)items;
    return std::nullopt;
  }
  // Called from run_item, from its thread, whenever more of the item is known. so_far gives the item's arrays as they are
  // then, NaN where not computed; it costs a copy and is valid during the call. Watching changes no number.
  using OnPartial = std::function<void(int64_t item, const std::function<std::vector<NamedArray>()>& so_far)>;
  virtual void on_partial(OnPartial f) { (void)f; }
  // An analysis whose items go on from one another with more than their results to remember (training: weights, moments,
  // where it reads) keeps a state. The runner stores it after every item and when the run is cancelled inside one, and
  // hands the newest back before the first item of a resumed run, which then goes on in the middle of item `item`. Empty:
  // what is stored already is the better one (a run that diverged).
  virtual bool keeps_state() const { return false; }
  virtual std::vector<NamedArray> state() { return {}; }
  virtual void set_state(int64_t item, const std::vector<NamedArray>& state) {
    (void)item;
    (void)state;
  }
  // Rows a batch may have at most; chosen once by the runner. An analysis that does not batch ignores it.
  virtual void set_batch(int64_t rows) { (void)rows; }
};

struct AnalysisKind {
  AnalysisInfo info;
  std::function<std::unique_ptr<AnalysisRun>(const AnalysisInput&)> start;
  ParamSchema schema{};                // of a built-in one: the params.json of its folder, filled in by the registry
  std::string plugin_file{}, plugin_hash{};            // the library it came from and its SHA-256; empty: built in
};

}  // namespace microtome
