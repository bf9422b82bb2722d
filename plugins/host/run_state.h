// run_state.h — what stands behind a plug-in's opaque microtome_run, and the functions of the program's table by topic.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plugins/host/border.h"
#include "plugins/host/plugin_run.h"

namespace microtome::plugins {

// The result of a forward, and what it points into.
struct ForwardHold {
  microtome_forward_result head{};
  std::vector<microtome_captured> captured;
  std::deque<at::Tensor> tensors;
  std::deque<std::vector<int64_t>> numbers;            // shapes, strides, positions
  std::deque<std::string> texts;
  std::deque<std::vector<const char*>> axes;
};

}  // namespace microtome::plugins

// Not thread-safe, as the interface says.
struct microtome_run {
  enum class Phase { kCreate, kIdle, kItem, kFinish };

  microtome_run(const microtome::plugins::PluginAnalysis& a, microtome::plugins::RunInput i)
      : analysis(a), input(std::move(i)) {}

  const microtome::plugins::PluginAnalysis& analysis;
  microtome::plugins::RunInput input;
  Phase phase = Phase::kCreate;
  int64_t batch_rows = 1;
  microtome::Progress* progress = nullptr;             // in run_item
  std::vector<microtome::NamedArray> arrays;           // of the item being computed
  const std::vector<std::vector<microtome::NamedArray>>* items = nullptr;   // in finish
  microtome::AnalysisResult result;
  // The first call that failed and may not be passed over.
  std::optional<microtome::Status> defect;

  // What plug-ins were given pointers to. A deque: growing it moves nothing.
  std::map<int64_t, std::string> token_texts;
  std::map<int64_t, std::string> prompt_json;
  std::string model_json;
  std::deque<std::vector<const char*>> pointers;
  std::vector<std::unique_ptr<microtome::plugins::ForwardHold>> forwards;
};

namespace microtome::plugins {

// Runs f for a plug-in: OK, or a code and a sentence. sticky: the failure is remembered in the run.
template <class F>
int32_t call_in(microtome_run* run, microtome_error* error, bool sticky, F&& f) noexcept {
  if (!run) return give_error({StatusCode::kBadInput, "the run is null"}, error);
  Status s;
  try {
    f();
    if (error) error->code = MICROTOME_OK;
    return MICROTOME_OK;
  } catch (...) {
    try {
      s = status_of_current_exception();
      if (sticky && !run->defect) run->defect = s;
    } catch (...) {
      return MICROTOME_OUT_OF_MEMORY;
    }
  }
  return give_error(s, error);
}

// artifacts.cc: checked copies. Throw Error(kBadInput) naming the thing and the field.
NamedArray read_array(const microtome_array* a, const PluginAnalysis& analysis);
Table read_table(const microtome_table* t);
TensorMap read_tensor_map(const microtome_tensor_map* m, const PluginAnalysis& analysis);
Series read_series(const microtome_series* s);
SummaryItem read_summary(const microtome_summary* s);

// facts.cc: what is known of the model and a prompt, as JSON.
std::string model_facts(const Model& model);
std::string prompt_facts(const PromptPair& pair);

// forward.cc
const microtome_forward_result* run_forward(microtome_run& run, const microtome_forward* request);
void free_forward(microtome_run& run, const microtome_forward_result* result);

}  // namespace microtome::plugins
