// unicode_text.h — UTF-8 stepping and the character classes that the `tokenizers` library asks about.
// All functions are pure; those that step over text need valid UTF-8 (checked once, where text enters).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace microtome::tok {

// Byte offset of the first malformed sequence (overlong, surrogate, beyond U+10FFFF, cut), or npos.
size_t find_invalid_utf8(std::string_view text);
// Where text enters: at most 256 MiB of valid UTF-8. Throws Error(kBadInput).
void check_text(std::string_view text);

// Bytes of the character that begins with `lead`.
inline size_t utf8_width(char lead) {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

inline bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

inline char32_t code_point_at(const char* p) {
  const auto b = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  if (b(0) < 0x80) return b(0);
  if (b(0) < 0xE0) return ((b(0) & 0x1F) << 6) | (b(1) & 0x3F);
  if (b(0) < 0xF0) return ((b(0) & 0x0F) << 12) | ((b(1) & 0x3F) << 6) | (b(2) & 0x3F);
  return ((b(0) & 0x07) << 18) | ((b(1) & 0x3F) << 12) | ((b(2) & 0x3F) << 6) | (b(3) & 0x3F);
}

// Start of the character that ends before `end` (end > 0).
inline size_t previous_char(std::string_view text, size_t end) {
  do {
    --end;
  } while (end > 0 && is_continuation(text[end]));
  return end;
}

void append_utf8(std::string& out, char32_t c);
// The only character of `text`, or 0 when it holds none or several.
char32_t only_char(std::string_view text);
// Bytes to text; each maximal malformed part becomes one U+FFFD, as Rust's from_utf8_lossy does.
std::string utf8_lossy(std::string_view bytes);

bool is_white_space(char32_t c);      // White_Space
bool is_word_char(char32_t c);        // \w of UTS #18: Alphabetic, M, Nd, Pc, Join_Control
bool is_numeric(char32_t c);          // Nd, Nl, No
bool is_combining_mark(char32_t c);   // M*
// These three as of Unicode 8.0, like the reference's.
bool is_punctuation(char32_t c);      // ASCII punctuation and P*
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_control_or_format(char32_t c);   // Cc, Cf, Cs, Co
// Appends the lower-case form of one character on its own (no context): U+0130 gives two.
void append_lowercase(std::u32string& out, char32_t c);

}  // namespace microtome::tok
