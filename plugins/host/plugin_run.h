// plugin_run.h — one run of a plug-in's analysis: calls its callbacks, checks and copies what it hands over. Shaped like an
// AnalysisRun, which app/engine makes of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/params.h"
#include "core/base/progress.h"
#include "core/hooks/hook_plan.h"
#include "core/io/tokenizer.h"
#include "core/model/model.h"
#include "core/tasks/task.h"
#include "plugins/host/plugin.h"

namespace microtome::plugins {

// References outlive the run.
struct RunInput {
  const Model& model;
  const Tokenizer* tokenizer = nullptr;                // may be null
  const Dataset& dataset;                              // already checked against what the analysis needs
  Params params;
  uint64_t seed = 0;
  MixerForm form = MixerForm::kAuto;
  // A mean with its interval, as the other analyses make it.
  std::function<SummaryItem(std::string name, const std::vector<double>& values, std::string unit, std::string help,
                            uint64_t seed)> mean;
};

// Used by one thread at a time. Every call may throw Error, naming plug-in and callback.
class PluginRun {
 public:
  PluginRun(std::shared_ptr<const Plugin> plugin, const PluginAnalysis& analysis, RunInput input);
  ~PluginRun();
  PluginRun(const PluginRun&) = delete;

  int64_t item_count() const;
  std::string item_title(int64_t item) const;
  std::vector<NamedArray> run_item(int64_t item, Progress& progress);
  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items);
  void set_batch(int64_t rows);

 private:
  std::string who(const char* callback) const;
  // After a callback: what it left behind is freed, a remembered or reported error thrown.
  void settle(int32_t code, const microtome_error& error, const char* callback);

  std::shared_ptr<const Plugin> plugin_;
  const PluginAnalysis& analysis_;
  std::unique_ptr<microtome_run> run_;
  void* handle_ = nullptr;
};

}  // namespace microtome::plugins
