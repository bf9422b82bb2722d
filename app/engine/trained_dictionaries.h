// trained_dictionaries.h — dictionaries that a run trained, as a folder that analyses read.
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::app {

// See Engine::write_dictionaries. Throws Error(kNotFound) for a result without such dictionaries, kFailed for a full disk.
void write_trained_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder);

}  // namespace microtome::app
