// json.h — JSON from files that others wrote: bounded in size and depth, duplicate keys refused, and every access
// checked with the field named in the error.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace microtome {

// Keeps the order of keys as written.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 64;
  size_t max_values = size_t{1} << 24;   // numbers, strings, lists, objects: each costs far more memory than its text
  bool allow_infinity = false;   // bare Infinity / -Infinity, as Python's json writes; NaN is always refused
};

// Parses text. Errors name `where` and the byte offset. Never recurses deeper than max_depth.
Result<Json> parse_json(std::string_view text, const std::string& where, const JsonLimits& limits = {});
// Reads the whole file (refused over max_bytes before any allocation) and parses it.
Result<Json> read_json_file(const std::string& path, const JsonLimits& limits = {});
// Writes to a temporary neighbour, syncs, renames: the file is whole or absent.
Status write_text_file(const std::string& path, std::string_view text);
Result<std::string> read_text_file(const std::string& path, size_t max_bytes = size_t{256} << 20);

// Checked readers: throw Error(kBadInput) naming "field 'key'" and `where`. The defaulted forms accept an absent key or
// null. {"__float__": "Infinity"} is read as a float.
int64_t json_int(const Json& object, const char* key, const std::string& where);
int64_t json_int(const Json& object, const char* key, int64_t fallback, const std::string& where);
double json_float(const Json& object, const char* key, const std::string& where);
double json_float(const Json& object, const char* key, double fallback, const std::string& where);
bool json_bool(const Json& object, const char* key, bool fallback, const std::string& where);
std::string json_string(const Json& object, const char* key, const std::string& where);
std::string json_string(const Json& object, const char* key, const std::string& fallback, const std::string& where);

}  // namespace microtome
