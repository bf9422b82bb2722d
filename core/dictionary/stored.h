// stored.h — a dictionary as an artifact: how a training run keeps what it made, and how export and the desktop app get it back.
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/dictionary/dictionary.h"

namespace microtome {

std::string config_to_json(const DictionaryConfig& c);
DictionaryConfig config_from_json(const std::string& text, const std::string& where);   // throws Error(kBadInput)

// Arrays W_enc [d_in,d_sae] … by name; the configuration is the one label of the axis "config".
TensorMap dictionary_artifact(const Dictionary& d, std::string name, std::string title);
bool is_dictionary(const TensorMap& map);
// On the CPU, in float32. Throws Error(kBadInput).
Dictionary dictionary_of(const TensorMap& map);
// All dictionaries of a result, as a set.
DictionarySet dictionaries_of(const AnalysisResult& result, const std::string& where);

}  // namespace microtome
