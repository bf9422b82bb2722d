// loaded_model.h — a model folder opened whole: checkpoint, configuration, weights on a device, tokenizer.
#pragma once

#include <memory>
#include <string>

#include "core/families/family.h"
#include "core/io/checkpoint.h"
#include "core/io/tokenizer.h"
#include "core/model/model.h"
#include "core/model/weights.h"

namespace microtome {

// Immutable; shared by runs.
struct LoadedModel {
  std::string folder, name;            // name: the folder's own
  const Family* family = nullptr;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Tokenizer> tokenizer;          // null where the folder has none
  std::vector<std::string> warnings;
};

// Throws Error. tokenizer problems are errors only when need_tokenizer; a folder without one gives null.
std::shared_ptr<const LoadedModel> load_model(const std::string& folder, c10::Device device, at::ScalarType dtype,
                                              WeightKeep keep = WeightKeep::kAuto);

// The same folder looked at without weights: what `inspect` shows.
struct InspectedModel {
  std::string folder, name;
  const Family* family = nullptr;
  ModelConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<std::string> warnings;
};
InspectedModel inspect_model(const std::string& folder);

}  // namespace microtome
