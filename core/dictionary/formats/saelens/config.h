// config.h — SAELens's cfg.json, both ways.
#pragma once

#include <string>

#include "core/base/json.h"
#include "core/dictionary/dictionary.h"

namespace microtome::dictionary_formats::saelens {

struct Parsed {
  DictionaryConfig config;             // sizes as the file says; format and extra set
  std::string architecture;            // as SAELens names it
  bool training = false;               // a training checkpoint of a batch-wise choice: one threshold for all features
};

// Versions before 6 (hook_point, activation_fn_str, no metadata) are read as SAELens reads them. Throws Error(kBadInput) or
// Error(kUnsupported) naming the field.
Parsed parse(const Json& cfg, const std::string& where);

// What cfg.json says of a dictionary. One that was read from this format and did not change gets its own file back; else the
// fields that are known here are set anew and all others kept.
Json config_to_write(const DictionaryConfig& c);

}  // namespace microtome::dictionary_formats::saelens
