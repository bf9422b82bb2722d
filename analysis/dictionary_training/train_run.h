// train_run.h — a training run as an analysis: items are the stretches between checkpoints, the state is what goes on from one to
// the next, the result the dictionaries with their curves. Shared by `sae` and `transcoder`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/dictionary_training/plan.h"
#include "core/training/activations.h"

namespace microtome::training {

class TrainRun : public AnalysisRun {
 public:
  TrainRun(const AnalysisInput& input, Plan plan);
  ~TrainRun() override;

  int64_t item_count() const override;
  std::string item_title(int64_t item) const override;
  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override;
  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;
  std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) override;
  void on_partial(OnPartial f) override { partial_ = std::move(f); }
  bool keeps_state() const override { return true; }
  std::vector<NamedArray> state() override;
  void set_state(int64_t item, const std::vector<NamedArray>& state) override;

 private:
  struct Live;                               // what exists only while training: corpus, activations, trainers
  void start(Progress& progress);
  void one_step(int64_t step);
  void look(int64_t item, int64_t step);     // fetches losses since the last look; throws where they diverged
  std::vector<NamedArray> item_arrays(bool last, Progress& progress);
  void evaluate(Progress& progress);
  AnalysisResult result(const std::vector<std::vector<NamedArray>>& items, bool whole) const;

  AnalysisInput input_;
  Plan plan_;
  std::unique_ptr<Live> live_;
  std::vector<NamedArray> resumed_;          // a state that start() must take
  bool begun_ = false;
  OnPartial partial_;
};

}  // namespace microtome::training
