#include "app/report/html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace microtome::report {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// Decodes one code point at `i` and moves on; an invalid byte gives U+FFFD and moves one byte on.
char32_t next_point(std::string_view s, size_t& i) {
  auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  unsigned char c = byte(i);
  if (c < 0x80) return ++i, c;
  int more = c >= 0xF0 && c <= 0xF4 ? 3 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xC2 && c < 0xE0 ? 1 : 0;
  if (more == 0 || i + more >= s.size()) return ++i, kReplacement;
  char32_t p = more == 3 ? c & 0x07 : more == 2 ? c & 0x0F : c & 0x1F;
  for (int k = 1; k <= more; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return ++i, kReplacement;
    p = p << 6 | (byte(i + k) & 0x3F);
  }
  bool overlong = (more == 2 && p < 0x800) || (more == 3 && p < 0x10000);
  if (overlong || p > 0x10FFFF || (p >= 0xD800 && p <= 0xDFFF)) return ++i, kReplacement;
  i += more + 1;
  return p;
}

void put_point(std::string& out, char32_t p) {
  if (p < 0x80) {
    out += static_cast<char>(p);
  } else if (p < 0x800) {
    out += static_cast<char>(0xC0 | p >> 6);
    out += static_cast<char>(0x80 | (p & 0x3F));
  } else if (p < 0x10000) {
    out += static_cast<char>(0xE0 | p >> 12);
    out += static_cast<char>(0x80 | (p >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (p & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | p >> 18);
    out += static_cast<char>(0x80 | (p >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (p >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (p & 0x3F));
  }
}

char32_t printable(char32_t p) {
  if (p < 0x20 && p != '\n' && p != '\t') return 0x2400 + p;
  if (p == 0x7F) return 0x2421;
  // Directional overrides could make a row of tokens read in another order than it stands.
  bool direction = (p >= 0x202A && p <= 0x202E) || (p >= 0x2066 && p <= 0x2069);
  if ((p >= 0x80 && p < 0xA0) || direction || (p & 0xFFFE) == 0xFFFE) return kReplacement;
  return p;
}

std::string with_true_minus(std::string s) {
  if (!s.empty() && s[0] == '-') s.replace(0, 1, "\xE2\x88\x92");
  return s;
}

// "3.20e-05" → "3.2e-5".
std::string scientific(double value, int significant) {
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%.*e", std::max(0, significant - 1), value);
  std::string s = buffer;
  size_t e = s.find('e');
  std::string mantissa = s.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    while (mantissa.back() == '0') mantissa.pop_back();
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return mantissa + "e" + std::to_string(std::atoi(s.c_str() + e + 1));
}

std::string group_digits(std::string s) {
  size_t from = s[0] == '-' ? 1 : 0;
  size_t end = s.find('.');
  if (end == std::string::npos) end = s.size();
  for (size_t i = end; i > from + 3; i -= 3) s.insert(i - 3, 1, ',');
  return s;
}

}  // namespace

std::string clean_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) put_point(out, printable(next_point(text, i)));
  return out;
}

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (char c : clean_utf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string shorten(std::string_view text, size_t limit) {
  std::string out;
  size_t points = 0;
  for (size_t i = 0; i < text.size(); ++points) {
    size_t from = out.size();
    char32_t p = printable(next_point(text, i));
    if (points + 1 >= limit && i < text.size()) {
      out.resize(from);
      return out + "\xE2\x80\xA6";
    }
    put_point(out, p);
  }
  return out;
}

std::string visible_blanks(std::string_view text) {
  std::string out;
  for (char c : clean_utf8(text)) {
    switch (c) {
      case ' ':
        out += "\xC2\xB7";
        break;
      case '\n':
        out += "\xE2\x8F\x8E";
        break;
      case '\t':
        out += "\xE2\x87\xA5";
        break;
      default:
        out += c;
    }
  }
  return out;
}

int text_cells(std::string_view text) {
  int cells = 0;
  for (size_t i = 0; i < text.size();) {
    char32_t p = next_point(text, i);
    bool wide = (p >= 0x1100 && p < 0x1160) || (p >= 0x2E80 && p < 0xA4D0) || (p >= 0xAC00 && p < 0xD7A4) ||
                (p >= 0xF900 && p < 0xFB00) || (p >= 0xFF00 && p < 0xFF61) || p >= 0x1F300;
    cells += wide ? 2 : 1;
  }
  return cells;
}

std::string number(double value, int significant) {
  if (std::isnan(value)) return "\xE2\x80\x93";
  if (std::isinf(value)) return value > 0 ? "\xE2\x88\x9E" : "\xE2\x88\x92\xE2\x88\x9E";
  if (value == 0) return "0";
  double size = std::fabs(value);
  if (size < 1e-3 || size >= 1e9) return with_true_minus(scientific(value, significant));
  int whole = static_cast<int>(std::floor(std::log10(size))) + 1;
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", std::max(0, significant - whole), value);
  std::string s = buffer;
  if (s.find('.') != std::string::npos) {
    while (s.back() == '0') s.pop_back();
    if (s.back() == '.') s.pop_back();
  }
  return with_true_minus(group_digits(s));
}

std::string count(int64_t value) { return with_true_minus(group_digits(std::to_string(value))); }

std::string coordinate(double value) {
  if (!std::isfinite(value)) return "0";
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.2f", value);
  std::string s = buffer;
  while (s.back() == '0') s.pop_back();
  if (s.back() == '.') s.pop_back();
  return s == "-0" ? "0" : s;
}

int common_decimals(const std::vector<double>& values) {
  double largest = 0;
  for (double v : values) {
    if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
  }
  if (largest == 0) return 0;
  if (largest < 1e-3 || largest >= 1e7) return -1;
  int whole = static_cast<int>(std::floor(std::log10(largest))) + 1;
  return std::clamp(3 - whole, 0, 5);
}

std::string fixed_number(double value, int decimals) {
  if (decimals < 0 || !std::isfinite(value)) return number(value);
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
  std::string s = buffer;
  bool all_zero = s.find_first_of("123456789") == std::string::npos;
  if (all_zero && value != 0) return number(value, 2);  // small is not nothing
  if (all_zero && s[0] == '-') s.erase(0, 1);
  return with_true_minus(group_digits(s));
}

std::string source_text(const std::string& s) {
  auto digits = [&](size_t from) {
    size_t n = 0;
    while (from + n < s.size() && s[from + n] >= '0' && s[from + n] <= '9') ++n;
    return n;
  };
  std::string out;
  for (size_t i = 0; i < s.size();) {
    bool start = i == 0 || s[i - 1] == ' ' || s[i - 1] == '(';
    size_t n = digits(i), m = n == 4 && i + 4 < s.size() && s[i + 4] == '.' ? digits(i + 5) : 0;
    bool named = out.size() >= 6 && (out.ends_with("arXiv ") || out.ends_with("arxiv "));
    if (start && (m == 4 || m == 5) && !named) out += "arXiv ";
    size_t step = std::max<size_t>(n, 1);
    out += s.substr(i, step);
    i += step;
  }
  return out;
}

std::string anchor(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 80)) {
    bool keep = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (c >= 'A' && c <= 'Z')
      out += static_cast<char>(c - 'A' + 'a');
    else
      out += keep ? c : '-';
  }
  return out;
}

const Json* find_key(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

std::string scalar_text(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_unsigned()) return std::to_string(value.get<uint64_t>());
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  if (value.is_number_float()) return number(value.get<double>(), 4);
  return {};
}

std::string text_at(const Json& object, const char* key, const std::string& fallback) {
  const Json* v = find_key(object, key);
  std::string s = v ? scalar_text(*v) : std::string();
  return s.empty() ? fallback : s;
}

}  // namespace microtome::report
