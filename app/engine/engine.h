// engine.h — everything the desktop app asks of the core, behind an interface without LibTorch: the app's window comes up
// first, and the library that holds this (libmicrotome_app.so) is opened by a worker when it is there. The calls block,
// throw Error and belong into job bodies, never into the GUI thread. Thread-safe, as the models they run are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "analysis/analysis_info.h"
#include "analysis/run_request.h"
#include "app/engine/circuit_meter.h"
#include "core/base/artifact.h"
#include "core/base/params.h"
#include "core/base/progress.h"
#include "core/io/tokenizer.h"
#include "core/store/result_store.h"
#include "core/tasks/task.h"

namespace microtome::app {

struct LayerFacts {
  int64_t index = 0;
  std::string mixer;                   // "softmax_attention", "gated_delta_rule" …
  bool recurrent = false;
  int64_t heads = 0, kv_heads = 0, d_k = 0, d_v = 0, d_mlp = 0;
};

struct HookFacts {
  std::string name;
  std::vector<std::string> axes;
  std::vector<int64_t> sizes;          // -1: follows the run
  bool on_request = false;
  std::string note;
};

struct ModelFacts {
  std::string folder, name, family, stored_dtype, dtype, device;
  int64_t parameters = 0, d_model = 0, vocab_size = 0, context_length = 0, weight_bytes = 0;
  bool tied_unembedding = false, has_tokenizer = false;
  std::vector<LayerFacts> layers;
  std::vector<HookFacts> hooks;
  std::vector<std::string> warnings;
};

struct WeightFacts {
  std::string name, dtype;             // canonical name: "blocks.0.attn.q.weight"
  std::vector<int64_t> shape;
  double norm = 0;                     // Frobenius norm of the weights as computed with
  double rms = 0;                      // norm / sqrt(size)
};

struct DeviceFacts {
  std::vector<std::string> names;      // "cpu", "cuda:0" …; the best one first
  std::string why_no_gpu;              // one sentence, empty where there is one
  std::string libtorch;                // version
};

struct AnalysisFacts {
  AnalysisInfo info;
  ParamSchema schema;
  std::string plugin;                  // the file it came from; empty: built in
};

// One candidate for the next token.
struct NextToken {
  int64_t id = 0;
  std::string text;                    // as decoded alone
  double logit = 0, probability = 0;
};

// What a run answers at the last position of a prompt.
struct NextTokens {
  std::vector<NextToken> top;          // most probable first
  std::vector<NextToken> asked;        // the ids that were asked for, in that order
  double entropy = 0;                  // nats
};

// A patching cell, run again to see what the model then says. Indices as the grid has them.
struct CellRequest {
  std::string site, direction = "denoise";   // as activation_patching's parameters
  int64_t layer = 0, head = -1, pos = -1;    // -1: the grid has no such axis; pos counts in this prompt
};

// A model in memory. Immutable; shared by runs and views.
class OpenModel {
 public:
  virtual ~OpenModel() = default;
  virtual const ModelFacts& facts() const = 0;
  virtual const Tokenizer* tokenizer() const = 0;      // null: the folder has none
};
using ModelPtr = std::shared_ptr<const OpenModel>;

using microtome::PreviewFn;

class Engine {
 public:
  virtual ~Engine() = default;
  // Opens the CUDA half on the first call.
  virtual DeviceFacts devices() = 0;
  // Built in and from plug-ins, by name.
  virtual std::vector<AnalysisFacts> analyses() = 0;
  // Problems with plug-ins found at start: one sentence each.
  virtual std::vector<std::string> plugin_warnings() = 0;

  // What the folder is, read without weights; an error says what is missing.
  virtual ModelFacts inspect(const std::string& folder) = 0;
  virtual ModelPtr open(const std::string& folder, const std::string& device, const std::string& dtype) = 0;
  virtual std::vector<WeightFacts> weights(const OpenModel& model, Progress& progress) = 0;

  // top: how many candidates; asked: further ids to look up.
  virtual NextTokens next_tokens(const OpenModel& model, const std::vector<int64_t>& ids, int64_t top,
                                 const std::vector<int64_t>& asked) = 0;
  // The same run with one cell of a patching grid changed. pair: tokenised, clean and corrupted of one length.
  virtual NextTokens patched_tokens(const OpenModel& model, const PromptPair& pair, const CellRequest& cell, int64_t top,
                                    const std::vector<int64_t>& asked) = 0;

  // model and dataset outlive the meter.
  virtual std::unique_ptr<CircuitMeter> circuit_meter(const OpenModel& model, const Dataset& dataset,
                                                      const CircuitMeterOptions& options) = 0;

  // As `microtome run`: answered from the store where it can, items commit one by one, resumes.
  virtual RunOutcome run(const OpenModel& model, const Dataset& dataset, const RunSettings& settings,
                         ResultStore* store, Progress& progress, const PreviewFn& preview) = 0;

  // Writes dictionaries that a training run made into `folder`, in SAELens's layout where that holds them, else sparsify's or
  // circuit-tracer's, so that analyses (and others) read them there.
  // names: of its artifacts; empty: all of them, as one set. The folder is made; what lies in it already is kept as it is, since
  // its name says which run it came from.
  virtual void write_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder) = 0;

  // Curves and tables of a training run that is not done, as its last preview was: read from what it has kept in the project, without
  // its model. Empty: nothing kept yet.
  virtual AnalysisResult kept_training(ResultStore& store, int64_t run) = 0;
};

// The function of libmicrotome_app.so that gives the one engine of the process; it lives until the process ends.
using EngineFn = Engine* (*)();
constexpr const char* kEngineSymbol = "microtome_engine";

}  // namespace microtome::app
