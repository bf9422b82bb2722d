#include <cmath>
#include <limits>

#include "core/base/json.h"
#include "core/base/quote.h"

namespace microtome {
namespace {

// Null when the key is absent or its value is null.
const Json* member(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object())
    throw Error(StatusCode::kBadInput, std::string("expected an object with the field '") + key + "'", where);
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const Json& required(const Json& object, const char* key, const std::string& where) {
  if (const Json* value = member(object, key, where)) return *value;
  throw Error(StatusCode::kBadInput, std::string("field '") + key + "' is missing", where);
}

std::string described(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return "the text " + in_quotes(value.get_ref<const std::string&>(), 60);
  if (value.is_number_float() && !std::isfinite(value.get<double>())) return "not finite";
  return value.dump();
}

[[noreturn]] void wrong(const Json& value, const char* key, const char* expected, const std::string& where) {
  throw Error(StatusCode::kBadInput,
              std::string("field '") + key + "' is " + described(value) + ", expected " + expected, where);
}

int64_t as_int(const Json& value, const char* key, const std::string& where) {
  if (value.is_number_unsigned()) {
    const uint64_t u = value.get<uint64_t>();
    if (u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<int64_t>(u);
  } else if (value.is_number_integer()) {
    return value.get<int64_t>();
  }
  wrong(value, key, "an integer", where);
}

double as_float(const Json& value, const char* key, const std::string& where) {
  if (value.is_number()) return value.get<double>();
  if (value.is_object() && value.size() == 1) {
    const auto it = value.find("__float__");
    if (it != value.end() && it->is_string()) {
      const std::string& text = it->get_ref<const std::string&>();
      if (text == "Infinity") return std::numeric_limits<double>::infinity();
      if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
      if (text == "NaN")
        throw Error(StatusCode::kBadInput, std::string("field '") + key + "' is NaN, expected a number", where);
    }
  }
  wrong(value, key, "a number", where);
}

const std::string& as_string(const Json& value, const char* key, const std::string& where) {
  if (!value.is_string()) wrong(value, key, "a text", where);
  return value.get_ref<const std::string&>();
}

}  // namespace

int64_t json_int(const Json& object, const char* key, const std::string& where) {
  return as_int(required(object, key, where), key, where);
}

int64_t json_int(const Json& object, const char* key, int64_t fallback, const std::string& where) {
  const Json* value = member(object, key, where);
  return value ? as_int(*value, key, where) : fallback;
}

double json_float(const Json& object, const char* key, const std::string& where) {
  return as_float(required(object, key, where), key, where);
}

double json_float(const Json& object, const char* key, double fallback, const std::string& where) {
  const Json* value = member(object, key, where);
  return value ? as_float(*value, key, where) : fallback;
}

bool json_bool(const Json& object, const char* key, bool fallback, const std::string& where) {
  const Json* value = member(object, key, where);
  if (!value) return fallback;
  if (!value->is_boolean()) wrong(*value, key, "true or false", where);
  return value->get<bool>();
}

std::string json_string(const Json& object, const char* key, const std::string& where) {
  return as_string(required(object, key, where), key, where);
}

std::string json_string(const Json& object, const char* key, const std::string& fallback, const std::string& where) {
  const Json* value = member(object, key, where);
  return value ? as_string(*value, key, where) : fallback;
}

}  // namespace microtome
