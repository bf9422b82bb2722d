// trained_dictionaries.h — dictionaries that a run trained, as a folder that analyses read; and what one that is not done has kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analysis/dictionary_training/kept.h"
#include "core/store/result_store.h"

namespace microtome::app {

// See Engine::write_dictionaries. Throws Error(kNotFound) for a result without such dictionaries, kFailed for a full disk.
void write_trained_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder);

// What a training run that is not done has kept in the project. Absent: no checkpoint yet, or no training run.
std::optional<training::Kept> kept_training(ResultStore& store, int64_t run, bool dictionaries);

}  // namespace microtome::app
