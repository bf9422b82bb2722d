#include "core/io/tokenizer/unicode_text.h"

#include <unicode/uchar.h>

#include <cstdint>

#include "core/base/status.h"

namespace microtome::tok {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;

// Length of the well-formed sequence at p, or 0; *bad then is the length of the maximal malformed part (Unicode 3.9,
// "substitution of maximal subparts").
size_t sequence(std::string_view s, size_t at, size_t* bad) {
  const auto byte = [&](size_t i) -> int { return i < s.size() ? static_cast<unsigned char>(s[i]) : -1; };
  const int b0 = byte(at);
  if (b0 < 0x80) return 1;
  int need = 0, low = 0x80, high = 0xBF;
  if (b0 >= 0xC2 && b0 <= 0xDF) {
    need = 1;
  } else if (b0 >= 0xE0 && b0 <= 0xEF) {
    need = 2;
    if (b0 == 0xE0) low = 0xA0;
    if (b0 == 0xED) high = 0x9F;
  } else if (b0 >= 0xF0 && b0 <= 0xF4) {
    need = 3;
    if (b0 == 0xF0) low = 0x90;
    if (b0 == 0xF4) high = 0x8F;
  } else {
    *bad = 1;
    return 0;
  }
  for (int i = 1; i <= need; ++i) {
    const int b = byte(at + static_cast<size_t>(i));
    if (b < low || b > high) {
      *bad = static_cast<size_t>(i);
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return static_cast<size_t>(need) + 1;
}

// General category as of Unicode 8.0, of which the reference's table for these classes is: later characters are
// unassigned there, and a few have changed their category since.
uint32_t category_in_unicode_8(char32_t c) {
  const auto u = static_cast<UChar32>(c);
  const uint32_t now = U_GET_GC_MASK(u);
  if (now == U_GC_CN_MASK) return now;
  switch (c) {
    case 0x166D: return U_GC_PO_MASK;       // So since 12.0
    case 0x1734: return U_GC_MN_MASK;       // Mc since 14.0
    case 0x1885: case 0x1886: return U_GC_LO_MASK;      // Mn since 9.0
    case 0xA9BD: return U_GC_MC_MASK;       // Mn since 11.0
    case 0x111C9: return U_GC_PO_MASK;      // Mn since 11.0
    default: break;
  }
  UVersionInfo age;
  u_charAge(u, age);
  return age[0] <= 8 ? now : uint32_t{U_GC_CN_MASK};
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t bad = 0;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const size_t n = sequence(text, i, &bad);
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

void check_text(std::string_view text) {
  if (text.size() > kMaxTextBytes)
    throw Error(StatusCode::kBadInput, "the text has " + std::to_string(text.size()) + " bytes", {},
                "at most " + std::to_string(kMaxTextBytes) + " can be tokenised at once");
  if (const size_t bad = find_invalid_utf8(text); bad != text.npos)
    throw Error(StatusCode::kBadInput, "the text is not valid UTF-8 at byte " + std::to_string(bad), {},
                "convert it to UTF-8");
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

char32_t only_char(std::string_view text) {
  if (text.empty() || utf8_width(text[0]) != text.size()) return 0;
  return code_point_at(text.data());
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  size_t bad = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t n = sequence(bytes, i, &bad);
    if (n > 0) {
      out.append(bytes, i, n);
      i += n;
    } else {
      out += "\xEF\xBF\xBD";
      i += bad;
    }
  }
  return out;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

bool is_word_char(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  const auto u = static_cast<UChar32>(c);
  return u_isUAlphabetic(u) || (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL);
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  }
  return (category_in_unicode_8(c) & U_GC_P_MASK) != 0;
}

bool is_combining_mark(char32_t c) {
  return c >= 0x300 && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0;
}

bool is_nonspacing_mark(char32_t c) {
  return c >= 0x300 && (category_in_unicode_8(c) & U_GC_MN_MASK) != 0;
}

bool is_control_or_format(char32_t c) {
  return (category_in_unicode_8(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK)) != 0;
}

void append_lowercase(std::u32string& out, char32_t c) {
  if (c == 0x130) {
    out += U"i\u0307";
    return;
  }
  out.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
}

}  // namespace microtome::tok
