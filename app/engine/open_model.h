// open_model.h — the engine's model: a LoadedModel and the facts the window shows. Private to app/engine.
#pragma once

#include "app/engine/engine.h"
#include "core/model/loaded_model.h"

namespace microtome::app {

class LoadedOpenModel final : public OpenModel {
 public:
  LoadedOpenModel(std::shared_ptr<const LoadedModel> loaded, ModelFacts facts) : loaded_(std::move(loaded)), facts_(std::move(facts)) {}
  const ModelFacts& facts() const override { return facts_; }
  const Tokenizer* tokenizer() const override { return loaded_->tokenizer.get(); }
  const LoadedModel& loaded() const { return *loaded_; }

 private:
  std::shared_ptr<const LoadedModel> loaded_;
  ModelFacts facts_;
};

std::unique_ptr<CircuitMeter> make_circuit_meter(const LoadedModel& model, const Dataset& dataset, const CircuitMeterOptions& options);

ModelFacts facts_of(const std::string& folder, const std::string& name, const ModelConfig& config, const Checkpoint& checkpoint,
                    std::vector<std::string> warnings);

}  // namespace microtome::app
