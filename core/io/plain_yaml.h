// plain_yaml.h — the part of YAML that configuration files of others are written in: block mappings and lists, flow lists
// and empty flow mappings, plain and quoted scalars, comments. Anchors, aliases, tags, block scalars and several documents
// are refused: nothing is expanded or made.
#pragma once

#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/base/status.h"

namespace microtome {

// Scalars by YAML's core schema: null, true, false, integers, decimal numbers, else texts. The document is a mapping; an
// empty one is {}. Errors: kBadInput and kUnsupported naming `where` and the line. At most 1 MiB of text and 16 levels.
Result<Json> parse_plain_yaml(std::string_view text, const std::string& where);

// The same data as YAML text, block style; reading it back gives the same data. Numbers must be finite.
std::string plain_yaml(const Json& mapping);

}  // namespace microtome
