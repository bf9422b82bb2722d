#include "core/store/value_codec.h"

#include <cmath>
#include <limits>

#include "core/base/quote.h"

namespace microtome {

namespace {

[[noreturn]] void bad_field(const char* field, const char* expected, const std::string& where) {
  throw Error(StatusCode::kBadInput, std::string("field '") + field + "' is not " + expected, where,
              "restore the project file from a copy");
}

bool is_utf8(std::string_view v) {
  while (!v.empty()) {
    size_t n = utf8_char_bytes(v);
    if (n == 0) return false;
    v.remove_prefix(n);
  }
  return true;
}

// Depth is that of our own encoders: a handful.
size_t count_values(const Json& v) {
  size_t n = 1;
  if (v.is_structured()) {
    for (const Json& inner : v) n += count_values(inner);
  }
  return n;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Json encode_number(double v) {
  if (std::isfinite(v)) return Json(v);
  return Json{{"__float__", std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity"}};
}

double decode_number(const Json& v, const char* field, const std::string& where) {
  if (v.is_number()) return v.get<double>();
  if (v.is_object() && v.size() == 1 && v.begin().key() == "__float__" && v.begin()->is_string()) {
    const std::string& text = v.begin()->get_ref<const std::string&>();
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  }
  bad_field(field, "a number", where);
}

Json encode_text(std::string_view v) {
  if (is_utf8(v)) return Json(std::string(v));
  static const char* kHex = "0123456789abcdef";
  std::string hex;
  hex.reserve(v.size() * 2);
  for (unsigned char c : v) {
    hex += kHex[c >> 4];
    hex += kHex[c & 15];
  }
  return Json{{"__bytes__", hex}};
}

std::string decode_text(const Json& v, const char* field, const std::string& where) {
  if (v.is_string()) return v.get<std::string>();
  if (v.is_object() && v.size() == 1 && v.begin().key() == "__bytes__" && v.begin()->is_string()) {
    const std::string& hex = v.begin()->get_ref<const std::string&>();
    std::string out;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
      if (high < 0 || low < 0) bad_field(field, "a text", where);
      out += static_cast<char>(high << 4 | low);
    }
    if (hex.size() % 2 == 0) return out;
  }
  bad_field(field, "a text", where);
}

Json encode_texts(const std::vector<std::string>& v) {
  Json out = Json::array();
  for (const std::string& t : v) out.push_back(encode_text(t));
  return out;
}

std::vector<std::string> decode_texts(const Json& v, const char* field, const std::string& where) {
  std::vector<std::string> out;
  for (const Json& t : decode_list(v, field, where)) out.push_back(decode_text(t, field, where));
  return out;
}

Json encode_text_map(const std::map<std::string, std::string>& v) {
  Json out = Json::array();
  for (const auto& [key, value] : v) out.push_back(Json::array({encode_text(key), encode_text(value)}));
  return out;
}

std::map<std::string, std::string> decode_text_map(const Json& v, const char* field, const std::string& where) {
  std::map<std::string, std::string> out;
  for (const Json& pair : decode_list(v, field, where)) {
    decode_list(pair, 2, field, where);
    out[decode_text(pair[0], field, where)] = decode_text(pair[1], field, where);
  }
  return out;
}

int64_t decode_integer(const Json& v, const char* field, const std::string& where) {
  if (v.is_number_unsigned()) {
    if (v.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return v.get<int64_t>();
  } else if (v.is_number_integer()) {
    return v.get<int64_t>();
  }
  bad_field(field, "an integer", where);
}

bool decode_bool(const Json& v, const char* field, const std::string& where) {
  if (!v.is_boolean()) bad_field(field, "true or false", where);
  return v.get<bool>();
}

const Json& decode_field(const Json& object, const char* field, const std::string& where) {
  if (object.is_object()) {
    auto it = object.find(field);
    if (it != object.end()) return *it;
  }
  bad_field(field, "there", where);
}

const Json& decode_list(const Json& v, const char* field, const std::string& where) {
  if (!v.is_array()) bad_field(field, "a list", where);
  return v;
}

const Json& decode_list(const Json& v, size_t n, const char* field, const std::string& where) {
  if (!v.is_array() || v.size() != n) bad_field(field, ("a list of " + std::to_string(n)).c_str(), where);
  return v;
}

Json parse_stored(const std::string& text, const std::string& where) { return parse_json(text, where).value(); }

std::string dump_for_store(const Json& v, const std::string& where) {
  const JsonLimits limits;
  std::string text = v.dump();
  if (text.size() > limits.max_bytes || count_values(v) > limits.max_values) {
    throw Error(StatusCode::kFailed, "a table, series or circuit is larger than a project keeps", where,
                "put large numbers into arrays, which are kept as files");
  }
  return text;
}

Json plain_text(std::string_view v) {
  if (is_utf8(v)) return Json(std::string(v));
  std::string out;
  while (!v.empty()) {
    size_t n = utf8_char_bytes(v);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      v.remove_prefix(1);
    } else {
      out.append(v.substr(0, n));
      v.remove_prefix(n);
    }
  }
  return Json(std::move(out));
}

Json plain_number(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }

}  // namespace microtome
