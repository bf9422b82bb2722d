// value_codec.h — numbers and texts as JSON that comes back as it was, whatever they hold; private to core/store. JSON
// has no NaN and no infinity, and its texts are UTF-8: {"__float__": "NaN"} and {"__bytes__": "c328"} stand for the
// rest. Readers throw Error(kBadInput) naming the field and `where`.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace microtome {

Json encode_number(double v);
double decode_number(const Json& v, const char* field, const std::string& where);
Json encode_text(std::string_view v);
std::string decode_text(const Json& v, const char* field, const std::string& where);
Json encode_texts(const std::vector<std::string>& v);
std::vector<std::string> decode_texts(const Json& v, const char* field, const std::string& where);
// As a list of pairs: keys may be any text too.
Json encode_text_map(const std::map<std::string, std::string>& v);
std::map<std::string, std::string> decode_text_map(const Json& v, const char* field, const std::string& where);

int64_t decode_integer(const Json& v, const char* field, const std::string& where);
bool decode_bool(const Json& v, const char* field, const std::string& where);
// The field of an object; the list behind it; the list with exactly n entries.
const Json& decode_field(const Json& object, const char* field, const std::string& where);
const Json& decode_list(const Json& v, const char* field, const std::string& where);
const Json& decode_list(const Json& v, size_t n, const char* field, const std::string& where);

Json parse_stored(const std::string& text, const std::string& where);
// Text to store; kFailed when it is more than parse_stored() would read back.
std::string dump_for_store(const Json& v, const std::string& where);

// For files that other programs read: broken UTF-8 becomes U+FFFD, numbers that are not finite become null.
Json plain_text(std::string_view v);
Json plain_number(double v);

}  // namespace microtome
