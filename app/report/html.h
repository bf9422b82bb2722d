// html.h — text made safe for HTML, and numbers made short for people. All functions are pure; any thread may call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace microtome::report {

// Valid UTF-8: every invalid byte becomes U+FFFD, control characters other than tab and newline become their pictures
// (U+2400…), C1 controls, directional overrides and non-characters U+FFFD.
std::string clean_utf8(std::string_view text);
// clean_utf8, then & < > " ' as entities: safe as element text and inside a quoted attribute, in HTML and in inline
// SVG.
std::string escape(std::string_view text);
// At most `limit` code points; what is cut is marked with an ellipsis. Expects any bytes, returns valid UTF-8.
std::string shorten(std::string_view text, size_t limit);
// Blanks that can be seen: space as a raised dot, newline and tab as arrows. Not escaped.
std::string visible_blanks(std::string_view text);
// Width in units of one Latin letter of a fixed-pitch font (wide East Asian characters count two).
int text_cells(std::string_view text);

// "0.831", "12.4", "1,234", "3.2e-5", "−0.5" with a true minus sign; "–" for NaN, "∞" for infinity.
std::string number(double value, int significant = 3);
std::string count(int64_t value);  // digits in threes
// Plain ASCII for coordinates: at most two decimals, no trailing zeros.
std::string coordinate(double value);
// Decimals that give the largest of `values` three significant digits; -1: use number() for each.
int common_decimals(const std::vector<double>& values);
std::string fixed_number(double value, int decimals);

// "2211.00593" → "arXiv 2211.00593": bare arXiv numbers are not known to every reader.
std::string source_text(const std::string& source);
// An id made of [a-z0-9-] from any text.
std::string anchor(std::string_view text);

// Reads of JSON that others wrote: absent or of another type gives the fallback, never an exception.
const Json* find_key(const Json& object, const char* key);
std::string scalar_text(const Json& value);  // "" for objects and lists
std::string text_at(const Json& object, const char* key, const std::string& fallback = {});

}  // namespace microtome::report
