#include "plugins/host/plugin_run.h"

#include <algorithm>
#include <utility>

#include "plugins/host/run_state.h"

namespace microtome::plugins {

PluginRun::PluginRun(std::shared_ptr<const Plugin> plugin, const PluginAnalysis& analysis, RunInput input)
    : plugin_(std::move(plugin)),
      analysis_(analysis),
      run_(std::make_unique<microtome_run>(analysis, std::move(input))) {
  microtome_error error{};
  int32_t code = call_out(who("create"),
                          [&] { return analysis_.calls.create(analysis_.calls.user, run_.get(), &handle_, &error); });
  try {
    settle(code, error, "create");
  } catch (...) {
    // The destructor does not run; a create that said OK has made something.
    if (code == MICROTOME_OK && analysis_.calls.destroy)
      call_out(who("destroy"), [&] { analysis_.calls.destroy(handle_); });
    throw;
  }
}

PluginRun::~PluginRun() {
  if (!analysis_.calls.destroy) return;
  // Nothing can be done about it here, and the answer is already there.
  (void)catch_status([&] { call_out(who("destroy"), [&] { analysis_.calls.destroy(handle_); }); });
}

std::string PluginRun::who(const char* callback) const {
  return "plug-in " + plugin_->file + ", " + callback + " of '" + analysis_.name + "'";
}

void PluginRun::settle(int32_t code, const microtome_error& error, const char* callback) {
  run_->phase = microtome_run::Phase::kIdle;
  run_->forwards.clear();
  run_->pointers.clear();
  Progress* progress = run_->progress;
  run_->progress = nullptr;
  std::optional<Status> defect = std::exchange(run_->defect, std::nullopt);
  // A cancel goes first: whatever the plug-in made of it, the item is not kept.
  if (progress) progress->check();
  if (code == MICROTOME_CANCELLED)
    throw Error(StatusCode::kFailed, "the plug-in says it was cancelled, which nobody did", who(callback),
                "report it to the plug-in's author");
  if (defect) throw Error(defect->code(), defect->text(), who(callback));
  take_error(code, error, who(callback));
}

int64_t PluginRun::item_count() const {
  int64_t n = call_out(who("item_count"), [&] { return analysis_.calls.item_count(handle_); });
  if (n < 0 || n > kManyThings)
    throw Error(StatusCode::kBadInput, "the plug-in says it has " + std::to_string(n) + " items, which cannot be",
                who("item_count"));
  return n;
}

std::string PluginRun::item_title(int64_t item) const {
  char text[256] = "";
  if (analysis_.calls.item_title)
    call_out(who("item_title"), [&] { analysis_.calls.item_title(handle_, item, text, sizeof text); });
  text[sizeof text - 1] = 0;
  return text[0] ? sentence_of(text, sizeof text) : "item " + std::to_string(item + 1);
}

std::vector<NamedArray> PluginRun::run_item(int64_t item, Progress& progress) {
  run_->phase = microtome_run::Phase::kItem;
  run_->progress = &progress;
  run_->arrays.clear();
  microtome_error error{};
  int32_t code = MICROTOME_FAILED;
  try {
    code = call_out(who("run_item"), [&] { return analysis_.calls.run_item(handle_, run_.get(), item, &error); });
  } catch (...) {
    run_->progress = nullptr;  // it lives no longer than this call
    run_->forwards.clear();
    run_->phase = microtome_run::Phase::kIdle;
    progress.check();
    throw;
  }
  settle(code, error, "run_item");
  return std::move(run_->arrays);
}

AnalysisResult PluginRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  run_->phase = microtome_run::Phase::kFinish;
  run_->items = &items;
  run_->result = {};
  microtome_error error{};
  int32_t code = call_out(who("finish"), [&] { return analysis_.calls.finish(handle_, run_.get(), &error); });
  settle(code, error, "finish");
  run_->items = nullptr;
  return std::move(run_->result);
}

void PluginRun::set_batch(int64_t rows) { run_->batch_rows = std::max<int64_t>(1, rows); }

}  // namespace microtome::plugins
