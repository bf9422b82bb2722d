// quote.h — text from a file, made fit for a message: in single quotes, control characters and broken UTF-8 escaped,
// cut when long. A hostile name must not move the cursor of a terminal or fill a log.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace microtome {

// Thread-safe, like all here.
std::string in_quotes(std::string_view text, size_t max_bytes = 120);

// Bytes of the UTF-8 character that text begins with: 1…4; 0 when it is not a well-formed one (overlong forms,
// surrogates and code points over U+10FFFF are not).
size_t utf8_char_bytes(std::string_view text);

}  // namespace microtome
